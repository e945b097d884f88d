package quake

import (
	"context"

	"github.com/seed-c9b6dc07/parley/agents"
)

// Notifier returns the agent that hands alerts to the outside service. It may
// hand over an alert again after a crash; the service knows it by its ID.
func Notifier(cfg agents.Config, s *Service) *agents.Agent {
	a := agents.New(NotifyAgent, cfg)
	agents.ProducesNothing(a)
	agents.On(a, func(_ context.Context, m *agents.Message[Alert]) error {
		return s.Take(m.ID(), m.Attempt, &m.Payload)
	})
	return a
}
