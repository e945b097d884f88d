package telemetry

import (
	"testing"
	"time"
)

func TestLedgerWindow(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("a").Input("t")
	for _, step := range []struct {
		what string
		do   func()
		want float64
	}{
		{"no partition yet", func() {}, 0},
		{"one, whole", func() { i.LedgerWindow(0, time.Hour, time.Hour) }, 3600},
		{"another one is cut", func() { i.LedgerWindow(1, 40*time.Second, time.Hour) }, 40},
		{"a whole one does not hide it", func() { i.LedgerWindow(0, time.Hour, time.Hour) }, 40},
		{"it grows again", func() { i.LedgerWindow(1, time.Minute, time.Hour) }, 60},
		{"its lane goes to another worker", func() { i.LaneClosed(1) }, 3600},
		{"so does the last", func() { i.LaneClosed(0) }, 3600},
	} {
		step.do()
		if got := value(t, reg, "parley_ledger_window_seconds"); got != step.want {
			t.Errorf("%s: %v s, want %v", step.what, got, step.want)
		}
	}
	if got := value(t, reg, "parley_ledger_window_configured_seconds"); got != 3600 {
		t.Errorf("configured: %v s", got)
	}
}
