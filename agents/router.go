package agents

import (
	"context"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

// NewRouter returns an agent that sends on what comes to its inbox, of any type,
// unchanged: value, key, ID, source, conversation, reply path and unknown headers. It
// goes to the next agent of the message's routing slip if there is one, else where the
// routes in force say. So whoever gets it knows a duplicate by the original identity,
// and answers whoever has asked. What it cannot send on is a dead letter: no_route;
// hops for one that comes to a router that has forwarded it before. It sends no ack.
func NewRouter(name string, cfg Config) *Agent {
	a := New(name, cfg)
	Routes(a)
	a.handlers[streaming.AnyType] = router{a.link}
	return a
}

// router is the handler of a router.
type router struct{ link *link }

// Forwards implements streaming.Forwarder.
func (router) Forwards() {}

// New implements streaming.Handler.
func (router) New() any { return new(streaming.Raw) }

// Handle implements streaming.Handler.
func (r router) Handle(ctx context.Context, d *streaming.Delivery) error {
	forward := func(to routes.Destination, slip []string) {
		d.Outbox.Stage(streaming.Outgoing{
			Topic: to.Topic(r.link.namespace), Partition: -1, Forward: true, Routed: true,
			Envelope: streaming.Envelope{Recipient: to.Agent, Route: slip},
		})
	}
	if slip := d.Envelope.Route; len(slip) > 0 {
		forward(routes.ToAgent(slip[0]), slip[1:])
		return nil
	}
	env := *d.Envelope
	env.Hops--
	decision, err := r.link.routing.decide(&routes.Message{
		Envelope: &env, Key: d.Key,
		Open: func() (schemas.AvroSchema, []byte, error) {
			return r.link.codec.Open(ctx, d.Payload.(*streaming.Raw).Value)
		},
	})
	if err != nil {
		return err
	}
	for _, to := range decision.Destinations {
		forward(to, nil)
	}
	return nil
}
