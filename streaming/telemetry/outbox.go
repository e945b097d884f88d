package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const labelOutbox = "outbox"

// outboxMetrics are the collectors of transactional outboxes.
type outboxMetrics struct {
	sent, parked *prometheus.CounterVec
	oldest       *prometheus.GaugeVec
}

func newOutboxMetrics() outboxMetrics {
	labels := []string{labelOutbox}
	return outboxMetrics{
		sent:   counter("parley_outbox_sent_total", "Messages of the outbox that were sent.", labels, nil),
		parked: counter("parley_outbox_parked_total", "Messages of the outbox that cannot be sent and were put aside.", labels, nil),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_outbox_oldest_seconds",
			Help: "Age of the oldest message of the outbox that was not sent yet.",
		}, labels),
	}
}

// Outbox is the metrics of one transactional outbox.
type Outbox struct {
	sent, parked prometheus.Counter
	oldest       prometheus.Gauge
}

// Outbox returns the metrics of the outbox of that name.
func (m *Metrics) Outbox(name string) *Outbox {
	return &Outbox{
		sent: m.outbox.sent.WithLabelValues(name), parked: m.outbox.parked.WithLabelValues(name), oldest: m.outbox.oldest.WithLabelValues(name),
	}
}

// Sent counts messages that the broker has acknowledged.
func (o *Outbox) Sent(n int) { o.sent.Add(float64(n)) }

// Parked counts a message that was put aside.
func (o *Outbox) Parked() { o.parked.Inc() }

// Oldest says how old the oldest message is that was not sent yet.
func (o *Outbox) Oldest(age time.Duration) { o.oldest.Set(seconds(age)) }
