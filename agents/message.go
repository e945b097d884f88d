package agents

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// Message is one attempt of one message, with the outbox for what it causes.
type Message[T any] struct {
	Payload  T
	Envelope streaming.Envelope
	Key      string // the ordering key
	Attempt  int    // 1 on the first

	out *outbox
}

// ID is the message's ID. With Envelope.Source it is the idempotency key.
func (m *Message[T]) ID() string { return m.Envelope.ID }

// Delivery is the attempt as the engine knows it: for packages that wrap
// handlers.
func (m *Message[T]) Delivery() *streaming.Delivery { return m.out.cause }

// Publish stages an event for a stream: each group that subscribes gets it. It is sent
// when the handler has succeeded. A message that is over its topic's limit is not
// staged, and the error a *streaming.RecordTooLargeError; a handler that returns it
// dead-letters what it handles, as too_large. Where only the broker knows the limit,
// that happens after the handler. Send and Reply likewise.
func (m *Message[T]) Publish(stream string, payload schemas.Message, opts ...Option) error {
	return m.out.stage(ToStream(stream), outgoing{topic: m.out.link.namespace.Events(stream), partition: -1, kind: streaming.KindEvent}, payload, opts)
}

// Send stages a message for one agent, a command unless an option says
// otherwise.
func (m *Message[T]) Send(agent string, payload schemas.Message, opts ...Option) error {
	return m.out.stage(ToAgent(agent), outgoing{topic: m.out.link.namespace.Inbox(agent), partition: -1, kind: streaming.KindCommand, to: agent}, payload, opts)
}

// Reply stages an answer to the sender, on the reply path that it named, else to its
// inbox. Its key is the message's own. A sender outside of agents that named no reply
// path and has no inbox gets none: the answer is dropped and counted.
func (m *Message[T]) Reply(payload schemas.Message, opts ...Option) error {
	own := append([]Option{answerTo(m.Envelope.ID)}, opts...)
	return m.out.stage(AsReply(), m.answer(), payload, own)
}

// answer is where an answer goes and as what. What no message has caused comes from
// outside: its sender need not be an agent.
func (m *Message[T]) answer() outgoing {
	topic, partition := pipeline.ReplyPath(&m.Envelope, m.out.link.namespace)
	return outgoing{
		topic: topic, partition: partition, kind: streaming.KindReply, to: m.Envelope.Source, key: m.Key,
		ifTopicExists: m.Envelope.ReplyTo == "" && m.Envelope.CausationID == "",
	}
}

// answerTo makes an answer to the request with that ID. Its deadline is that of who
// waits for it.
func answerTo(id string) Option {
	return func(o *streaming.Outgoing) { o.Envelope.CausationID, o.Lasting = id, true }
}

// resumedFrom is the message that a question's handler goes on with.
func (m *Message[T]) resumedFrom() (*streaming.Envelope, string) { return &m.Envelope, m.Key }

// Spend reports tokens that this run has spent, as a model's answer says: the
// agent's Limits.TokensPerMinute counts them. It may be called several times,
// and does not wait. It is about this instance's rate; what the message's senders
// allow is Budget and Charge.
func (m *Message[T]) Spend(tokens int) {
	if spend := m.out.cause.Spend; spend != nil {
		spend(float64(tokens))
	}
}

// Budget is what is left of what the message and all that it causes may spend; ok is
// false where its senders have set none.
func (m *Message[T]) Budget() (unit string, left float64, ok bool) {
	b, ok := m.out.cause.Budget.Left()
	return b.Unit, b.Amount, ok
}

// Charge takes an amount, in the unit that Budget names, off the budget: all that this
// run sends inherits what is left at its end, whether it was staged before or after.
// Over the budget the error is a *streaming.BudgetError and nothing is charged; a
// handler that returns it dead-letters the message as policy. Without a budget
// nothing happens. A run that fails has charged nothing: the next has the message's
// whole budget again.
func (m *Message[T]) Charge(amount float64) error { return m.out.cause.Budget.Charge(amount) }

// Option changes what is sent.
type Option func(*streaming.Outgoing)

// Key sets the ordering key. Default: the conversation.
func Key(key string) Option { return func(o *streaming.Outgoing) { o.Key = key } }

// Kind sets the kind of the message.
func Kind(k streaming.Kind) Option { return func(o *streaming.Outgoing) { o.Envelope.Kind = k } }

// Ack asks for an ack: it arrives as schemas.Ack.
func Ack(mode streaming.AckMode) Option {
	return func(o *streaming.Outgoing) { o.Envelope.Ack = mode }
}

// Expires sets the time past which the message is not handled any more.
func Expires(at time.Time) Option { return func(o *streaming.Outgoing) { o.Envelope.Expiry = at } }

// DeliverAt sets the time before which the message is not handled.
func DeliverAt(at time.Time) Option {
	return func(o *streaming.Outgoing) { o.Envelope.DeliverAt = at }
}

// Budget sets what the message and all that it causes may spend, such as
// Budget("tokens", 1000). From a handler it can only lower what is inherited: of the
// same unit the smaller counts, of another the inherited. It gives one output a share;
// without it each inherits the whole.
func Budget(unit string, amount float64) Option {
	return func(o *streaming.Outgoing) {
		b := streaming.Budget{Unit: unit, Amount: amount}
		if o.Envelope.Budget = b.String(); b.Validate() != nil {
			o.Envelope.Budget = badBudget // which is refused when it is sent
		}
	}
}

const badBudget = "="

// Lasting sends a message that does not inherit the deadline of what is handled: for
// what an agent tells itself, and for what has to be undone however late it is.
func Lasting() Option { return func(o *streaming.Outgoing) { o.Lasting = true } }

// ID sets the message ID of what a Sender sends. What a handler sends has an ID
// that is derived from the message it handles; there this option has no effect.
func ID(id string) Option { return func(o *streaming.Outgoing) { o.Envelope.ID = id } }

// outgoing is where a message goes and as what.
type outgoing struct {
	topic     string
	partition int32
	kind      streaming.Kind
	to        string
	key       string // empty: the conversation
	routed    bool   // data has named it

	ifTopicExists bool // see streaming.Outgoing
}

// encoded is a payload of a type that is not known beforehand, with its value.
type encoded struct {
	schemas.Message // nil
	messageType     string
	value           []byte
}

// encode returns the type of a payload and its value.
func encode(ctx context.Context, codec *schemas.Codec, payload schemas.Message) (messageType string, value []byte, err error) {
	if e, ok := payload.(encoded); ok {
		return e.messageType, e.value, nil
	}
	messageType = schemas.MessageType(payload.Schema())
	if messageType == "" {
		return "", nil, fmt.Errorf("the schema of %T names no parley.type", payload)
	}
	if value, err = codec.Encode(ctx, payload); err != nil {
		return "", nil, fmt.Errorf("encode %s: %w", messageType, err)
	}
	return messageType, value, nil
}

// fill completes an empty message.
func (o outgoing) fill(out *streaming.Outgoing, messageType string, value []byte, opts []Option) {
	out.Topic, out.Partition, out.Key, out.Value = o.topic, o.partition, o.key, value
	out.Envelope.Kind, out.Envelope.Recipient, out.Envelope.Type = o.kind, o.to, messageType
	out.Routed, out.IfTopicExists = o.routed, o.ifTopicExists
	for _, opt := range opts {
		opt(out)
	}
}

// checkBudget reports a budget that nobody would take.
func checkBudget(out *streaming.Outgoing) error {
	if out.Envelope.Budget == "" {
		return nil
	}
	if _, err := streaming.ParseBudget(out.Envelope.Budget); err != nil {
		return &schemas.ContractError{Header: schemas.HeaderBudget, Problem: err.Error()}
	}
	return nil
}

// outbox stages what a handler sends.
type outbox struct {
	ctx   context.Context
	link  *link
	cause *streaming.Delivery
	asker *streaming.Envelope // of the message that is gone on with; nil: the one delivered

	picked int // agents, from the directory
}

// stage adds a message, unless the agent declares what it sends, and not this: then
// the error is an *UndeclaredError.
func (b *outbox) stage(place Destination, to outgoing, payload schemas.Message, opts []Option) error {
	if err := b.link.outputs.check(place, payload); err != nil {
		return err
	}
	return b.stageAny(to, payload, opts)
}

// stageAny adds a message, wherever it goes.
func (b *outbox) stageAny(to outgoing, payload schemas.Message, opts []Option) error {
	messageType, value, err := encode(b.ctx, b.link.codec, payload)
	if err != nil {
		return err
	}
	return b.add(to, messageType, value, opts)
}

// add stages an encoded message.
func (b *outbox) add(to outgoing, messageType string, value []byte, opts []Option) error {
	out := b.cause.Outbox.Next()
	to.fill(out, messageType, value, opts)
	if e := b.asker; e != nil {
		out.Envelope.CorrelationID = e.CorrelationID
		if !e.Expiry.IsZero() && (out.Envelope.Expiry.IsZero() || out.Envelope.Expiry.After(e.Expiry)) {
			out.Envelope.Expiry = e.Expiry
		}
	}
	err := checkBudget(out)
	if err == nil {
		err = validSlip(out)
	}
	if e := b.asker; e != nil { // whoever has answered may have sent no budget
		out.Envelope.Budget = streaming.LowerBudget(e.Budget, out.Envelope.Budget)
	}
	if err == nil && b.cause.Fits != nil {
		err = b.cause.Fits(out)
	}
	if err != nil {
		b.cause.Outbox.Unstage()
	}
	return err
}
