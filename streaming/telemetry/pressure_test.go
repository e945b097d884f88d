package telemetry

import (
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func TestInstance(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("triage").Instance()
	for _, step := range []struct {
		do   func()
		name string
		want float64
	}{
		{func() {}, "parley_paused", 0},
		{func() { i.Paused(true) }, "parley_paused", 1},
		{func() { i.Paused(false) }, "parley_paused", 0},
		{func() { i.BreakerOpen(true) }, "parley_breaker_open", 1},
		{func() { i.BreakerOpen(false) }, "parley_breaker_open", 0},
		{func() { i.ControlSkipped() }, "parley_control_skipped_total", 1},
		{func() { m.Agent("triage").Instance().ControlSkipped() }, "parley_control_skipped_total", 2},
	} {
		step.do()
		if got := value(t, reg, step.name, "agent=triage"); got != step.want {
			t.Errorf("%s is %v, want %v", step.name, got, step.want)
		}
	}
}

func TestLimited(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("triage").Instance()
	i.Limited(streaming.LimitTokens, 1500*time.Millisecond)
	i.Limited(streaming.LimitTokens, time.Second)
	for limit, want := range map[string]float64{"handlers": 0, "requests": 0, "tokens": 2.5} {
		if got := value(t, reg, "parley_limited_seconds_total", "agent=triage", "limit="+limit); got != want {
			t.Errorf("limited by %s for %v, want %v", limit, got, want)
		}
	}
}
