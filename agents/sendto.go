package agents

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Target is whoever can do something, see Capable.
type Target struct{ messageType string }

// Capable is one live agent that takes messages of a type at its inbox.
func Capable(messageType string) Target { return Target{messageType} }

// SendTo stages a message for one agent that the directory names (see
// DirectoryView.Pick), by the message's ordering key. The choice is made once: where
// the handler runs again after a failure or a crash, it stands in the ledger as a
// step's result, and a message never goes to two agents. If nobody is there the error
// is a *NoAgentError, which as a handler's outcome is a dead letter, no_route.
//
// The agent that was chosen may be gone when the message comes: then it waits in the
// inbox until it is back, or until the message expires.
func (m *Message[T]) SendTo(target Target, payload schemas.Message, opts ...Option) error {
	b := m.out
	agent, err := b.pick(target, opts)
	if err != nil {
		return err
	}
	to := outgoing{topic: b.link.namespace.Inbox(agent), partition: -1, kind: streaming.KindCommand, to: agent}
	if _, declared := b.link.outputs.schemas[schemas.MessageType(payload.Schema())]; declared { // for whichever agent
		return b.stageAny(to, payload, opts)
	}
	return b.stage(ToAgent(agent), to, payload, opts)
}

// pick chooses an agent, durably.
func (b *outbox) pick(target Target, opts []Option) (agent string, err error) {
	var probe streaming.Outgoing
	outgoing{}.fill(&probe, "", nil, opts)
	key := probe.Key
	if key == "" {
		key = b.cause.Envelope.CorrelationID
	}
	choose := func() (string, error) {
		agent, err := b.link.directory.Pick(b.ctx, target.messageType, key)
		var nobody *NoAgentError
		switch {
		case errors.As(err, &nobody):
			return "", streaming.DeadLetter(streaming.ReasonNoRoute, err)
		case err != nil:
			return "", Unavailable(err)
		}
		return agent, nil
	}
	name := fmt.Sprintf("parley.capable/%d", b.picked)
	b.picked++
	stored, ok, err := b.cause.Steps.Begin(b.ctx, name)
	if err != nil {
		return "", err
	}
	if ok {
		if err := json.Unmarshal(stored, &agent); err != nil {
			return "", Permanent(fmt.Errorf("the agent that was chosen: %w", err))
		}
		return agent, nil
	}
	if agent, err = choose(); err != nil {
		return "", err
	}
	text, err := json.Marshal(agent)
	if err != nil {
		return "", err
	}
	return agent, b.cause.Steps.Store(b.ctx, name, text)
}
