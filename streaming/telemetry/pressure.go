package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/streaming"
)

const labelLimit = "limit"

// pressure are the collectors of what holds agents back.
type pressure struct {
	paused, breaker *prometheus.GaugeVec
	controlSkipped  *prometheus.CounterVec
	limited         *prometheus.CounterVec
}

func newPressure() pressure {
	agent := []string{labelAgent}
	return pressure{
		paused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_paused",
			Help: "1 while an operator has paused the agent: no handler is started.",
		}, agent),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_breaker_open",
			Help: "1 while the agent pauses and probes because a handler has said that something it needs is unavailable.",
		}, agent),
		controlSkipped: counter("parley_control_skipped_total",
			"Control records about the agent that cannot be read. What was wanted before stays.", agent, nil),
		limited: counter("parley_limited_seconds_total",
			"Time for which messages that could be handled have waited for a limit of the agent, by limit.", []string{labelAgent, labelLimit}, nil),
	}
}

func (p pressure) collectors() []prometheus.Collector {
	return []prometheus.Collector{p.paused, p.breaker, p.controlSkipped, p.limited}
}

// Instance is the metrics of one instance of an agent, beside those of its
// inputs.
type Instance struct {
	paused, breaker prometheus.Gauge
	controlSkipped  prometheus.Counter
	limited         map[streaming.Limit]prometheus.Counter // only read
}

// Instance returns the metrics of what holds the agent back, with every series
// made. The instances in one process share them.
func (a *Agent) Instance() *Instance {
	p := a.m.pressure
	i := &Instance{
		paused:         p.paused.WithLabelValues(a.name),
		breaker:        p.breaker.WithLabelValues(a.name),
		controlSkipped: p.controlSkipped.WithLabelValues(a.name),
		limited:        make(map[streaming.Limit]prometheus.Counter),
	}
	for _, limit := range streaming.AllLimits() {
		i.limited[limit] = p.limited.WithLabelValues(a.name, string(limit))
	}
	return i
}

// Paused says whether an operator has paused the agent.
func (i *Instance) Paused(paused bool) { i.paused.Set(flag(paused)) }

// BreakerOpen says whether the agent pauses and probes.
func (i *Instance) BreakerOpen(open bool) { i.breaker.Set(flag(open)) }

// ControlSkipped counts a control record that cannot be read.
func (i *Instance) ControlSkipped() { i.controlSkipped.Inc() }

// Limited adds time for which handlers have waited for a limit.
func (i *Instance) Limited(limit streaming.Limit, d time.Duration) {
	i.limited[limit].Add(seconds(d))
}

func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}
