package telemetry

import (
	"testing"
	"time"
)

// negotiate makes the series of negotiations.
func negotiate(m *Metrics) {
	n := m.Negotiations("a")
	n.Concluded("done", time.Second)
	n.Again("silent")
	n.Ignored("late")
}

func TestNegotiations(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	negotiate(m)
	m.Negotiations("a").Ignored("late")
	for name, want := range map[string]float64{
		"parley_negotiations_total":                 1,
		"parley_negotiation_duration_seconds":       1,
		"parley_negotiation_reawards_total":         1,
		"parley_negotiation_messages_ignored_total": 2,
	} {
		if got := value(t, reg, name, "agent=a"); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
