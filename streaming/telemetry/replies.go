package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Replies is the metrics of who waits for answers.
type Replies struct {
	dropped, failed *prometheus.CounterVec
	agent           string
}

// Why a request has failed. It is a label.
const (
	RequestNoAgent = "no_agent" // the agent has no inbox
	RequestNoReply = "no_reply" // no answer came in time
	RequestRefused = "refused"  // the answer says so
	RequestOther   = "other"
)

func newRequestsFailed() *prometheus.CounterVec {
	return counter("parley_requests_failed_total", "Requests that have failed: no_agent, without an inbox; no_reply in time; refused by an answer; other.", []string{labelAgent, labelWhy}, nil)
}

// Failed counts a request that has failed.
func (r *Replies) Failed(why string) { r.failed.WithLabelValues(r.agent, why).Inc() }

// RepliesNoInbox is why an agent has not sent its answer: who has asked, from outside,
// has no inbox and named no other place.
const RepliesNoInbox = "no_inbox"

func newRepliesDropped() *prometheus.CounterVec {
	return counter("parley_replies_dropped_total", "Answers that nobody waited for: late, or of an unknown request; and those of the agent's own that were not sent, as the asker has no_inbox.", []string{labelAgent, labelWhy}, nil)
}

const labelWhy = "why"

// Replies returns the metrics of the requester of that name.
func (m *Metrics) Replies(agent string) *Replies {
	for _, why := range []string{RequestNoAgent, RequestNoReply, RequestRefused, RequestOther} {
		m.requestsFailed.WithLabelValues(agent, why)
	}
	return &Replies{m.repliesDropped, m.requestsFailed, agent}
}

// Dropped counts an answer that went to nobody.
func (r *Replies) Dropped(why string) { r.Counter(why).Inc() }

// Counter is the counter of one reason.
func (r *Replies) Counter(why string) prometheus.Counter {
	return r.dropped.WithLabelValues(r.agent, why)
}
