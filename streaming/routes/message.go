package routes

import (
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/schemas/expr"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Message is what is to be routed.
type Message struct {
	// Envelope is as the message will have it: its ID draws what a weighted route
	// chooses, its hops are those that are left.
	Envelope *streaming.Envelope
	Key      string // the ordering key; empty: the conversation
	// Open returns the schema and the payload of the value, as Codec.Open does. It is
	// called at most once, and only where a match needs the payload.
	Open func() (schemas.AvroSchema, []byte, error)
}

// attribute is a variable of a match, beside payload.
type attribute struct {
	name string
	typ  *expr.Type
	get  func(*Message) expr.Value
}

// attributes are what a match can look at. Times are left out: a message has none
// yet while its handler runs, and a repeated run would be routed elsewhere.
var attributes = []attribute{
	{"id", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.ID) }},
	{"type", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.Type) }},
	{"source", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.Source) }},
	{"kind", expr.StringType, func(m *Message) expr.Value { return expr.String(string(m.Envelope.Kind)) }},
	{"recipient", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.Recipient) }},
	{"key", expr.StringType, func(m *Message) expr.Value { return expr.String(m.key()) }},
	{"correlationid", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.CorrelationID) }},
	{"causationid", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.CausationID) }},
	{"replyto", expr.StringType, func(m *Message) expr.Value { return expr.String(m.Envelope.ReplyTo) }},
	{"hops", expr.IntType, func(m *Message) expr.Value { return expr.Int(int64(m.Envelope.Hops)) }},
	{"sequence", expr.IntType, func(m *Message) expr.Value { return expr.Int(m.Envelope.Sequence) }},
	{"last", expr.BoolType, func(m *Message) expr.Value { return expr.Bool(m.Envelope.Last) }},
}

// Attributes lists the attributes that a match can look at.
func Attributes() []string {
	names := make([]string, len(attributes))
	for i, a := range attributes {
		names[i] = a.name
	}
	return names
}

func attributeVars() []expr.Var {
	vars := make([]expr.Var, len(attributes), len(attributes)+1)
	for i, a := range attributes {
		vars[i] = expr.Var{Name: a.name, Type: a.typ}
	}
	return vars
}

func (m *Message) key() string {
	if m.Key == "" {
		return m.Envelope.CorrelationID
	}
	return m.Key
}

// view is a message while it is routed: its values are made once.
type view struct {
	*Message
	values []expr.Value

	opened  bool
	schema  schemas.AvroSchema
	payload []byte
	err     error
}

func (v *view) attributes() []expr.Value {
	if v.values == nil {
		v.values = make([]expr.Value, len(attributes), len(attributes)+1)
		for i, a := range attributes {
			v.values[i] = a.get(v.Message)
		}
	}
	return v.values
}

func (v *view) open() (schemas.AvroSchema, []byte, error) {
	if !v.opened {
		v.opened = true
		v.schema, v.payload, v.err = v.Open()
	}
	return v.schema, v.payload, v.err
}
