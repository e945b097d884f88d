package schemas

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// What a vector's reader finds is encoded to the vector again, byte for byte,
// but for the parts that are foreign: those that others may write so.
func TestGoldenEncodes(t *testing.T) { // not parallel: with -update it writes the file
	g := readGolden(t)
	if *update {
		for i := range g.Schemas {
			g.Schemas[i].fill(t)
		}
		codec := g.codec(t)
		for _, v := range g.Vectors {
			v.fill(t, g, codec)
		}
		g.write(t)
	}
	for _, s := range g.Schemas {
		if schema, err := ParseSchema(s.Text); err != nil || FullName(schema) != s.Subject {
			t.Errorf("schema %d is not of %s: %v", s.ID, s.Subject, err)
		}
	}
	codec := g.codec(t)
	for _, v := range g.Vectors {
		rec := v.record(t)
		if got := v.headers(t, g); !slices.Contains(v.Foreign, "headers") && !reflect.DeepEqual(got, rec.Headers) {
			t.Errorf("%s: headers %q\ninstead of %q", v.Name, got, rec.Headers)
		}
		if got := v.partition(t, g); !reflect.DeepEqual(got, v.Partition) {
			t.Errorf("%s: another partition", v.Name)
		}
		if slices.Contains(v.Foreign, "value") {
			continue
		}
		if got := v.value(t, g, codec); got != v.Value {
			t.Errorf("%s: value %s\ninstead of %s", v.Name, got, v.Value)
		}
		if got, ok := v.typedValue(t, codec); ok && got != v.Value {
			t.Errorf("%s: of its Go type the value is %s\ninstead of %s", v.Name, got, v.Value)
		}
	}
}

// Each of the platform's own types has its schema among the vectors, as it is
// registered.
func TestGoldenSchemasAreRegistered(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for _, m := range []Message{
		Ack{}, ErrorReply{}, AgentStop{}, AgentControl{}, AgentContract{}, AgentInstance{}, LedgerEntry{}, RouteSet{}, Ask{}, goldenReport{}, goldenNote{},
	} {
		text, err := SchemaText(m.Schema())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(g.Schemas, func(s goldenSchema) bool { return s.Text == text }) {
			t.Errorf("%s has another schema:\n%s", FullName(m.Schema()), text)
		}
	}
}

func (s *goldenSchema) fill(t *testing.T) {
	if s.Text != "" {
		return
	}
	var err error
	if s.Text, err = SchemaText(newGoldenType(s.Subject).Schema()); err != nil {
		t.Fatal(err)
	}
}

// fill sets what is empty.
func (v *goldenVector) fill(t *testing.T, g *golden, codec *Codec) {
	if v.Key != nil {
		v.Key.fill()
	}
	if len(v.Headers) == 0 {
		for _, h := range v.headers(t, g) {
			b := goldenBytes{Hex: hex.EncodeToString(h.Value)}
			if utf8.Valid(h.Value) {
				b.Text = string(h.Value)
			}
			v.Headers = append(v.Headers, goldenHeader{h.Key, b})
		}
	}
	for i := range v.Headers {
		v.Headers[i].fill()
	}
	if v.Value == "" {
		v.Value = v.value(t, g, codec)
	}
	if v.Partition == nil {
		v.Partition = v.partition(t, g)
	}
	if v.Read.LedgerKey == "" {
		v.Read.LedgerKey = v.ledgerKey(t)
	}
}

func (b *goldenBytes) fill() {
	if b.Hex == "" {
		b.Hex = hex.EncodeToString([]byte(b.Text))
	}
}

// headers are those of the described envelope, or of the original, and hop data.
func (v *goldenVector) headers(t *testing.T, g *golden) (headers []streaming.Header) {
	t.Helper()
	if v.Read.Original != "" {
		headers = g.vector(t, v.Read.Original).record(t).Headers
	} else if v.Read.Envelope != nil {
		env := v.envelope(t)
		headers = AppendEnvelope(nil, &env)
	}
	if v.Read.Hop != nil {
		hop := v.hop(t)
		headers = AppendHop(headers, &hop)
	}
	return headers
}

// value is the described payload, framed.
func (v *goldenVector) value(t *testing.T, g *golden, codec *Codec) string {
	t.Helper()
	schema, err := ParseSchema(g.text(v.Schema))
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	value, err := codec.EncodeJSON(v.Schema, schema, v.Read.Payload)
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return hex.EncodeToString(value)
}

// typedValue is the value as an agent or a worker writes it: of a generated
// type, or of marks. It is false where that has another version of the schema.
func (v *goldenVector) typedValue(t *testing.T, codec *Codec) (string, bool) {
	t.Helper()
	name, _, err := codec.DecodeAny(t.Context(), unhex(t, v.Value))
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	into := newGoldenType(name)
	if id, err := codec.schemas.ID(t.Context(), into.Schema()); err != nil || id != v.Schema {
		return "", false
	}
	var value []byte
	err = codec.Decode(t.Context(), unhex(t, v.Value), into, "")
	if err == nil {
		value, err = codec.Encode(t.Context(), into)
	}
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	if v.isLedger() {
		marks, err := EncodeMarks(t.Context(), codec, goldenMarks()[v.Name])
		if err != nil || !bytes.Equal(marks, value) {
			t.Errorf("%s: its marks are %x, %v", v.Name, marks, err)
		}
	}
	return hex.EncodeToString(value), true
}

// partition is the record's in a topic of as many as the file says, nil where
// the writer is free to choose.
func (v *goldenVector) partition(t *testing.T, g *golden) *int32 {
	t.Helper()
	switch v.PartitionBy {
	case "key":
		// That the client chooses as Java's does is proven in streaming/kafka.
		topic := kgo.StickyKeyPartitioner(nil).ForTopic(v.Topic)
		p := int32(topic.Partition(&kgo.Record{Key: v.record(t).Key}, int(g.Partitions)))
		return &p
	case "reply path":
		// The request's ce_replyto names it.
		env := v.request(t, g).envelope(t)
		topic, p, err := ParseReplyTo(env.ReplyTo)
		if err != nil || topic != v.Topic {
			t.Errorf("%s: the reply path is %s", v.Name, env.ReplyTo)
		}
		return &p
	case "input":
		if v.isLedger() {
			return v.Partition
		}
		o := v.hop(t).Origin
		if original := g.vector(t, v.Read.Original); o.Topic != original.Topic || !reflect.DeepEqual(&o.Partition, original.Partition) {
			t.Errorf("%s: its origin %+v is not where %s is", v.Name, o, original.Name)
		}
		return &o.Partition
	case "any":
	default:
		t.Errorf("%s: the partition is by %q", v.Name, v.PartitionBy)
	}
	return nil
}

// request is the vector that has caused v.
func (v *goldenVector) request(t *testing.T, g *golden) *goldenVector {
	t.Helper()
	cause := v.envelope(t).CausationID
	for _, r := range g.Vectors {
		if r.Read.Envelope != nil && r.envelope(t).ID == cause {
			return r
		}
	}
	t.Fatalf("%s: no vector has the ID %s", v.Name, cause)
	return nil
}
