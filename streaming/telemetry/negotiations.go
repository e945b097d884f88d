package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const labelOutcome = "outcome"

// negotiations are the metrics of package contractnet.
type negotiations struct {
	concluded, again, ignored *prometheus.CounterVec
	duration                  *prometheus.HistogramVec
}

func newNegotiations() negotiations {
	return negotiations{
		concluded: counter("parley_negotiations_total", "Negotiations that were concluded.", []string{labelAgent, labelOutcome}, nil),
		again:     counter("parley_negotiation_reawards_total", "Tasks given to the next bid, as the winner had failed or was silent.", []string{labelAgent, labelWhy}, nil),
		ignored:   counter("parley_negotiation_messages_ignored_total", "Messages of a negotiation that had no part in it.", []string{labelAgent, labelWhy}, nil),
		duration: histogram("parley_negotiation_duration_seconds", "Time from the opening of a negotiation to its conclusion.",
			[]float64{.05, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600}, []string{labelAgent, labelOutcome}, nil),
	}
}

func (n *negotiations) collectors() []prometheus.Collector {
	return []prometheus.Collector{n.concluded, n.again, n.ignored, n.duration}
}

// Negotiations is the metrics of an agent's negotiations.
type Negotiations struct {
	m     *negotiations
	agent string
}

// Negotiations returns the metrics of an agent's negotiations.
func (m *Metrics) Negotiations(agent string) *Negotiations {
	return &Negotiations{&m.negotiations, agent}
}

// Concluded counts a negotiation that has ended, so long after its opening.
func (n *Negotiations) Concluded(outcome string, took time.Duration) {
	n.m.concluded.WithLabelValues(n.agent, outcome).Inc()
	n.m.duration.WithLabelValues(n.agent, outcome).Observe(seconds(took))
}

// Again counts a task that was given to the next bid. how says how the winner before
// has ended.
func (n *Negotiations) Again(how string) { n.m.again.WithLabelValues(n.agent, how).Inc() }

// Ignored counts a message that had no part in a negotiation.
func (n *Negotiations) Ignored(why string) { n.m.ignored.WithLabelValues(n.agent, why).Inc() }
