package agents

import (
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Via gives a message a routing slip: the agents that it is to visit after the one
// that it is sent to, in order. Each handler sends on with Message.Pass. A name that
// cannot be an agent's is a *schemas.ContractError when the message is staged or sent.
func Via(agents ...string) Option {
	return func(o *streaming.Outgoing) { o.Envelope.Route = slices.Clone(agents) }
}

// Pass stages a command for the next agent of the handled message's routing slip, with
// the rest of the slip and the message's key, and returns the agent's name. At the
// slip's end, or without one, nothing is staged and the name is empty. If the agent
// does not exist when the message is sent, the handled one is a dead letter, no_route.
func (m *Message[T]) Pass(payload schemas.Message, opts ...Option) (next string, err error) {
	slip := m.Envelope.Route
	if len(slip) == 0 {
		return "", nil
	}
	next = slip[0]
	b := m.out
	if err := b.link.outputs.checkRouted(ToAgent(next), payload); err != nil {
		return "", err
	}
	messageType, value, err := encode(b.ctx, b.link.codec, payload)
	if err != nil {
		return "", err
	}
	to := outgoing{topic: b.link.namespace.Inbox(next), partition: -1, kind: streaming.KindCommand, to: next, key: m.Key, routed: true}
	if err := b.add(to, messageType, value, append([]Option{Via(slip[1:]...)}, opts...)); err != nil {
		return "", err
	}
	return next, nil
}

// validSlip says whether readers will take a message's routing slip.
func validSlip(out *streaming.Outgoing) error {
	if len(out.Envelope.Route) > schemas.MaxRoute {
		return &schemas.ContractError{Header: schemas.HeaderRoute, Problem: "it has too many agents"}
	}
	for _, name := range out.Envelope.Route {
		if err := schemas.ValidName(name); err != nil {
			return &schemas.ContractError{Header: schemas.HeaderRoute, Problem: err.Error()}
		}
	}
	return nil
}
