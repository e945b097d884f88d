package agents

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// Config says how an agent works. The zero value works.
type Config struct {
	Streams          []string      // streams subscribed to; its inbox an agent always has
	Group            string        // consumer group; default: the agent's name
	Retry            retry.Policy  // default: tiers 1s, 10s, 1m, 10m; 5 attempts
	Hold             bool          // a dead letter holds its key until it is redriven or discarded; default: the key goes on
	Unordered        bool          // messages of one key may overtake each other; default: in order
	Parallel         int           // handlers at once per partition; default 16
	HandlerTimeout   time.Duration // after which a handler's context ends; default: none
	DrainTimeout     time.Duration // default 10 s
	SessionTimeout   time.Duration // after which a dead instance's partitions go to others; default 45 s
	LedgerWindow     time.Duration // how long a message is recognised again; default 24 h
	LedgerSize       int           // messages per partition that are recognised again; default 1,000,000 (62 MiB)
	AnswerBytes      int           // of a request's answer that is kept for its duplicates; default 16 KiB; negative: none
	StepBytes        int           // limit of one step's result; default 64 KiB
	MessageStepBytes int           // limit of all step results of one message; default 1 MiB
	StateBytes       int           // limit of a key's state; default 256 KiB
	ExactlyOnce      bool          // Kafka transactions, see worker.Config; default: at least once
	Instance         string        // with ExactlyOnce: this process slot's stable name; default random

	// GroupProtocol is Kafka's group.protocol: classic, the default, or consumer
	// (KIP-848, Kafka 4.0 or later), with which the brokers set the session timeout.
	GroupProtocol kafka.GroupProtocol

	// MaxBytes bounds the unsettled records in the memory of an instance, over all
	// its partitions. Default: 64 MiB.
	MaxBytes int

	// Limits are of each instance: handlers at once, requests and tokens per
	// minute. Default: none.
	Limits streaming.Limits
}

// Agent is a name with typed handlers. Add handlers with On, then run it with
// Platform.Run.
type Agent struct {
	name     string
	cfg      Config
	handlers map[string]streaming.Handler
	states   map[string]bool

	questions map[string]question
	answers   map[string]streaming.Handler // of the types of their answers
	link      *link
	errs      []error

	consumes map[string]json.RawMessage // the schema of each handler, by message type
	upcasts  map[string]upcaster        // by the message type that they convert
	outputs  declared
	attached map[reflect.Type]any

	maintains []func(streaming.Namespace) string // topics
}

// link is what handlers need of the platform; it is set when the agent runs.
type link struct {
	agent     string
	codec     *schemas.Codec
	namespace streaming.Namespace
	outputs   *declared // of the agent
	dropped   func(DroppedReply)

	exactlyOnce bool
	platform    *Platform
}

// New returns an agent without handlers. Names are [a-z0-9-]+.
func New(name string, cfg Config) *Agent {
	return &Agent{
		name: name, cfg: cfg, link: &link{}, outputs: declared{agent: name},
		handlers: make(map[string]streaming.Handler), consumes: make(map[string]json.RawMessage), upcasts: make(map[string]upcaster),
	}
}

// Name is the agent's name.
func (a *Agent) Name() string { return a.name }

// Types lists the message types that the agent handles.
func (a *Agent) Types() []string {
	var types []string
	for t := range a.handlers {
		types = append(types, t)
	}
	return types
}

// On registers the handler of one message type: the one that T's schema names
// in its property parley.type.
func On[T schemas.Message](a *Agent, handle func(ctx context.Context, m *Message[T]) error) {
	register[T](a, erased[T]{link: a.link, handle: handle})
}

// register adds the handler of T's message type.
func register[T schemas.Message](a *Agent, h streaming.Handler) (messageType string, ok bool) {
	messageType, schema, err := described[T]()
	if err == nil && a.handlers[messageType] != nil {
		err = fmt.Errorf("agent %s has two handlers for %s", a.name, messageType)
	}
	if err != nil {
		a.errs = append(a.errs, err)
		return "", false
	}
	a.handlers[messageType], a.consumes[messageType] = h, schema
	return messageType, true
}

// described returns the message type of T and the text of its schema.
func described[T schemas.Message]() (messageType string, schema json.RawMessage, err error) {
	var zero T
	messageType = schemas.MessageType(zero.Schema())
	if messageType == "" {
		return "", nil, fmt.Errorf("the schema of %T names no parley.type", zero)
	}
	text, err := schemas.SchemaText(zero.Schema())
	return messageType, json.RawMessage(text), err
}

// erased is a typed handler as the engine calls it.
type erased[T schemas.Message] struct {
	link   *link
	handle func(context.Context, *Message[T]) error
}

// run is one run of a handler, in one piece.
type run[T any] struct {
	message Message[T]
	outbox  outbox
}

// Target implements streaming.Target.
func (r *run[T]) Target() any { return &r.message.Payload }

// value is the payload.
func (r *run[T]) value() schemas.Message {
	m, _ := any(r.message.Payload).(schemas.Message)
	return m
}

// New implements streaming.Handler.
func (erased[T]) New() any { return new(run[T]) }

// Handle implements streaming.Handler.
func (e erased[T]) Handle(ctx context.Context, d *streaming.Delivery) error {
	r := d.Payload.(*run[T])
	r.outbox = outbox{ctx: ctx, link: e.link, cause: d}
	m := &r.message
	m.Envelope, m.Key, m.Attempt, m.out = *d.Envelope, d.Key, d.Attempt, &r.outbox
	return e.handle(ctx, m)
}

// RetryAfter makes the message be handled again after that time. The attempt
// counts.
func RetryAfter(after time.Duration, err error) error {
	return &streaming.RetryError{After: after, Err: err}
}

// Unavailable says that something the handler needs is down: a model, a
// database. No attempt is counted; the whole agent pauses, for a second at
// first and a minute at most, and probes with one message at a time.
func Unavailable(err error) error { return &streaming.UnavailableError{Err: err} }

// Permanent dead-letters the message: no retry can help.
func Permanent(err error) error { return streaming.DeadLetter(streaming.ReasonPermanent, err) }

// DeadLetter dead-letters the message with a reason of the closed set.
func DeadLetter(reason streaming.Reason, err error) error { return streaming.DeadLetter(reason, err) }
