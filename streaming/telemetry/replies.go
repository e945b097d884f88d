package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Replies is the metrics of who waits for answers.
type Replies struct {
	dropped *prometheus.CounterVec
	agent   string
}

func newRepliesDropped() *prometheus.CounterVec {
	return counter("parley_replies_dropped_total", "Answers that nobody waited for: late, or of an unknown request.", []string{labelAgent, labelWhy}, nil)
}

const labelWhy = "why"

// Replies returns the metrics of the requester of that name.
func (m *Metrics) Replies(agent string) *Replies { return &Replies{m.repliesDropped, agent} }

// Dropped counts an answer that went to nobody.
func (r *Replies) Dropped(why string) { r.Counter(why).Inc() }

// Counter is the counter of one reason.
func (r *Replies) Counter(why string) prometheus.Counter {
	return r.dropped.WithLabelValues(r.agent, why)
}
