package quake

import (
	"context"
	"fmt"
	"math"

	"github.com/seed-c9b6dc07/parley/agents"
)

// ByRule is who has written an assessment without a model.
const ByRule = "rule"

// Analyst returns the agent that says what an event means for people. With a model the
// sentence is the model's; the intensity is always that of the rule.
func Analyst(cfg agents.Config, model *Model) *agents.Agent {
	a := agents.New(AnalystAgent, cfg)
	agents.Produces[Assessment](a, agents.AsReply())
	agents.On(a, func(ctx context.Context, m *agents.Message[Assess]) error {
		answer := assess(&m.Payload)
		if model != nil {
			text, err := model.sentence(ctx, m)
			if err != nil {
				return err
			}
			answer.Text, answer.By = text, model.Name
		}
		return m.Reply(answer)
	})
	return a
}

func assess(q *Assess) *Assessment {
	i := Intensity(q.Magnitude, q.Depth)
	return &Assessment{Eventid: q.Eventid, Intensity: int32(i), Text: fmt.Sprintf("Expect intensity %d: %s.", i, effects(i)), By: ByRule} //nolint:gosec // 1 to 12
}

// Intensity is what to expect above the hypocentre, 1 to 12 on the scale of Mercalli,
// by Shebalin's formula 1.5 M - 3.5 log10(depth) + 3. A depth that is not known, or
// less than a kilometre, counts as 10 km.
func Intensity(magnitude float64, depth *float64) int {
	km := 10.0
	if depth != nil && *depth >= 1 {
		km = *depth
	}
	return int(min(max(math.Round(1.5*magnitude-3.5*math.Log10(km)+3), 1), 12))
}

func effects(intensity int) string {
	switch {
	case intensity >= 9:
		return "buildings are destroyed"
	case intensity >= 7:
		return "buildings are damaged"
	case intensity >= 5:
		return "all feel it, little is broken"
	case intensity >= 3:
		return "felt indoors"
	}
	return "hardly felt"
}
