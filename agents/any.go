package agents

import (
	"context"
	"fmt"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Any is a payload of a type that is not known beforehand.
type Any struct {
	Name  string // the Avro full name of the record
	Value any    // as a JSON document has it: map[string]any for a record
	Bytes []byte // as it came, with the schema ID in front; not to be changed
}

// OnAny registers a handler of all message types that have none of their own and
// match a pattern: "quake.*" for those that begin with "quake.", "*" for all. Of two
// patterns the longer counts. The payload is decoded by its writer's schema. Patterns
// do not stand in the agent's contract, and the platform's own messages, as agent.ack,
// come to "*" too.
func OnAny(a *Agent, pattern string, handle func(ctx context.Context, m *Message[Any]) error) {
	if a.handlers[pattern] != nil {
		a.errs = append(a.errs, fmt.Errorf("agent %s has two handlers for %s", a.name, pattern))
		return
	}
	a.handlers[pattern] = anyHandler{link: a.link, handle: handle}
}

// anyHandler is a handler of any type as the engine calls it.
type anyHandler struct {
	link   *link
	handle func(context.Context, *Message[Any]) error
}

// New implements streaming.Handler.
func (anyHandler) New() any { return new(streaming.Raw) }

// Handle implements streaming.Handler.
func (h anyHandler) Handle(ctx context.Context, d *streaming.Delivery) error {
	payload := Any{Bytes: d.Payload.(*streaming.Raw).Value}
	var err error
	if payload.Name, payload.Value, err = h.link.codec.DecodeAny(ctx, payload.Bytes); err != nil {
		return outcomeOf(err)
	}
	return h.handle(ctx, &Message[Any]{
		Payload: payload, Envelope: *d.Envelope, Key: d.Key, Attempt: d.Attempt,
		out: &outbox{ctx: ctx, link: h.link, cause: d},
	})
}
