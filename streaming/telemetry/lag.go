package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// lagCollector computes the lag gauges when they are scraped, because an age
// grows without anyone telling.
type lagCollector struct {
	now  func() time.Time
	desc *prometheus.Desc

	mu     sync.Mutex
	inputs []*inputLag
}

func newLagCollector(now func() time.Time) *lagCollector {
	return &lagCollector{
		now: now,
		desc: prometheus.NewDesc("parley_consumer_lag_seconds",
			"Age of the oldest unsettled record of the input topic, the maximum over the partitions that this worker owns.",
			[]string{labelAgent, labelTopic}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.inputs {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, l.max().Seconds(), l.agent, l.topic)
	}
}

func (c *lagCollector) input(agent, topic string) *inputLag {
	l := &inputLag{now: c.now, agent: agent, topic: topic, oldest: map[int32]time.Time{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inputs = append(c.inputs, l)
	return l
}

// inputLag keeps, for each partition with unsettled records, when the oldest
// of them was written.
type inputLag struct {
	now          func() time.Time
	agent, topic string

	mu     sync.Mutex
	oldest map[int32]time.Time
}

func (l *inputLag) set(partition int32, age time.Duration) {
	if age <= 0 {
		l.forget(partition)
		return
	}
	at := l.now().Add(-age)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest[partition] = at
}

func (l *inputLag) forget(partition int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.oldest, partition)
}

func (l *inputLag) max() time.Duration {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var worst time.Duration
	for _, at := range l.oldest {
		worst = max(worst, now.Sub(at))
	}
	return worst
}
