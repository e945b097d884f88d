package quake

import (
	"context"
	"fmt"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Dispatcher returns the agent that raises an alert for each command. Its acks
// are sent by the platform, as the command asks for one.
func Dispatcher(cfg agents.Config) *agents.Agent {
	a := agents.New(DispatchAgent, cfg)
	agents.Produces[Alert](a, agents.ToAgent(NotifyAgent))
	agents.On(a, func(_ context.Context, m *agents.Message[Dispatch]) error {
		c := &m.Payload
		return m.Send(NotifyAgent, &Alert{Eventid: c.Eventid, Level: c.Level, Text: alertText(c)},
			agents.Kind(streaming.KindIntent), agents.Key(m.Key))
	})
	return a
}

func alertText(c *Dispatch) string {
	text := fmt.Sprintf("%s %s, magnitude %.1f, %s, %s", c.Size, c.Eventtype, c.Magnitude, c.Depthclass, c.Place)
	if c.Tsunami {
		text += "; a tsunami is possible"
	}
	return text
}
