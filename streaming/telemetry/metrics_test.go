package telemetry

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// contract is what dashboards and alert rules are written against: the names
// and the labels of each metric.
var contract = map[string][]string{
	"parley_route_errors_total":                 {"agent", "route", "why"},
	"messaging_process_duration_seconds":        {"agent", "error_type", "messaging_operation_name", "messaging_system", "topic"},
	"messaging_client_consumed_messages_total":  {"agent", "messaging_operation_name", "messaging_system", "topic"},
	"messaging_client_sent_messages_total":      {"agent", "messaging_operation_name", "messaging_system", "topic"},
	"parley_end_to_end_latency_seconds":         {"agent", "topic"},
	"parley_redeliveries_total":                 {"agent", "topic"},
	"parley_duplicates_total":                   {"agent", "topic"},
	"parley_skipped_total":                      {"agent", "topic"},
	"parley_retries_total":                      {"agent", "reason", "topic"},
	"parley_dead_letters_total":                 {"agent", "reason", "topic"},
	"parley_in_flight":                          {"agent", "topic"},
	"parley_in_flight_bytes":                    {"agent", "topic"},
	"parley_consumer_lag_seconds":               {"agent", "topic"},
	"parley_retry_lateness_seconds":             {"agent", "topic"},
	"parley_answered_again_total":               {"agent", "topic"},
	"parley_answers_not_kept_total":             {"agent", "topic"},
	"parley_outbox_sent_total":                  {"outbox"},
	"parley_outbox_parked_total":                {"outbox"},
	"parley_outbox_oldest_seconds":              {"outbox"},
	"parley_ledger_window_seconds":              {"agent", "topic"},
	"parley_ledger_window_configured_seconds":   {"agent", "topic"},
	"parley_paused":                             {"agent"},
	"parley_breaker_open":                       {"agent"},
	"parley_control_skipped_total":              {"agent"},
	"parley_limited_seconds_total":              {"agent", "limit"},
	"parley_replies_dropped_total":              {"agent", "why"},
	"parley_negotiations_total":                 {"agent", "outcome"},
	"parley_negotiation_duration_seconds":       {"agent", "outcome"},
	"parley_negotiation_reawards_total":         {"agent", "why"},
	"parley_negotiation_messages_ignored_total": {"agent", "why"},
	"parley_board_proposals_total":              {"board"},
	"parley_board_conflicts_total":              {"board"},
	"parley_board_bad_total":                    {"board", "what"},
	"parley_budget_exhausted_total":             {"agent", "unit"},
	"parley_requests_failed_total":              {"agent", "why"},
	"parley_directory_skipped_total":            nil,
}

func newMetrics(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m, err := New(reg)
	if err != nil {
		t.Fatal(err)
	}
	return m, reg
}

// value returns a counter's or gauge's value, or a histogram's count, of the
// one series that has all the labels (name=value).
func value(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := math.NaN()
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, s := range f.GetMetric() {
			var have []string
			for _, l := range s.GetLabel() {
				have = append(have, l.GetName()+"="+l.GetValue())
			}
			for _, want := range labels {
				if !slices.Contains(have, want) {
					continue series
				}
			}
			if !math.IsNaN(found) {
				t.Fatalf("%s%v matches more than one series", name, labels)
			}
			switch {
			case s.GetCounter() != nil:
				found = s.GetCounter().GetValue()
			case s.GetGauge() != nil:
				found = s.GetGauge().GetValue()
			default:
				found = float64(s.GetHistogram().GetSampleCount())
			}
		}
	}
	if math.IsNaN(found) {
		t.Fatalf("%s%v: no such series", name, labels)
	}
	return found
}

func TestSeriesExistAtStart(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	a := m.Agent("triage")
	a.Input("parley.events.quakes")
	a.Sent("parley.inbox.dispatch", 0)
	m.Outbox("shop")
	m.Replies("a").Dropped("late")
	m.Routes("a").Failed("r", "compile")
	negotiate(m)
	m.Board("prices")
	a.Instance()

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		seen[f.GetName()] = true
		want, ok := contract[f.GetName()]
		if !ok {
			t.Errorf("%s is not in the contract", f.GetName())
			continue
		}
		for _, s := range f.GetMetric() {
			var have []string
			for _, l := range s.GetLabel() {
				have = append(have, l.GetName())
			}
			if !slices.Equal(have, want) {
				t.Errorf("%s has labels %v, want %v", f.GetName(), have, want)
			}
		}
	}
	for name := range contract {
		if !seen[name] {
			t.Errorf("%s has no series before the first message", name)
		}
	}
	for _, r := range streaming.Reasons() {
		for _, name := range []string{"parley_dead_letters_total", "parley_retries_total"} {
			if got := value(t, reg, name, "agent=triage", "topic=parley.events.quakes", "reason="+string(r)); got != 0 {
				t.Errorf("%s{reason=%q} = %v at start", name, r, got)
			}
		}
	}
	value(t, reg, "messaging_process_duration_seconds", "error_type=")
	value(t, reg, "messaging_client_sent_messages_total", "topic=parley.inbox.dispatch")
}

func TestLint(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("a").Input("t")
	i.Sent("u", 1)
	m.Agent("a").Instance()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestInputMethods(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("notify").Input("parley.inbox.notify")
	i.Consumed(3)
	i.Sent("parley.inbox.other", 2)
	i.Processed("", 10*time.Millisecond)
	i.Processed(streaming.ReasonHandler, time.Millisecond)
	i.Processed(streaming.ReasonNoRoute, time.Millisecond) // not made at start
	i.Processed("free text", time.Millisecond)             // must not become a label
	i.EndToEnd(-time.Second)
	i.Redelivered()
	i.Duplicate()
	i.Skipped()
	i.Retrying(streaming.ReasonTimeout)
	i.DeadLettered(streaming.ReasonPanic)
	i.DeadLettered("free text")
	i.InFlight(5)
	i.InFlight(-2)
	i.InFlightBytes(500)
	i.InFlightBytes(-200)
	i.RetryLateness(3 * time.Millisecond)
	i.AnswerDropped()

	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"messaging_client_consumed_messages_total", nil, 3},
		{"messaging_client_sent_messages_total", []string{"topic=parley.inbox.other"}, 2},
		{"parley_replies_dropped_total", []string{"agent=notify", "why=no_inbox"}, 1},
		{"messaging_process_duration_seconds", []string{"error_type="}, 1},
		{"messaging_process_duration_seconds", []string{"error_type=handler"}, 1},
		{"messaging_process_duration_seconds", []string{"error_type=no_route"}, 1},
		{"messaging_process_duration_seconds", []string{"error_type=unknown"}, 1},
		{"parley_end_to_end_latency_seconds", nil, 1},
		{"parley_redeliveries_total", nil, 1},
		{"parley_duplicates_total", nil, 1},
		{"parley_skipped_total", nil, 1},
		{"parley_retries_total", []string{"reason=timeout"}, 1},
		{"parley_retries_total", []string{"reason=handler"}, 0},
		{"parley_dead_letters_total", []string{"reason=panic"}, 1},
		{"parley_dead_letters_total", []string{"reason=unknown"}, 1},
		{"parley_in_flight", nil, 3},
		{"parley_in_flight_bytes", nil, 300},
		{"parley_retry_lateness_seconds", nil, 1},
	} {
		if got := value(t, reg, c.name, append(c.labels, "agent=notify")...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, got, c.want)
		}
	}
}

func TestHistogramsAreClassicAndBoundedNative(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("a").Input("t")
	for n := range 10_000 {
		i.Processed("", time.Duration(n*n)*time.Microsecond)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "messaging_process_duration_seconds" {
			continue
		}
		for _, s := range f.GetMetric() {
			h := s.GetHistogram()
			if h.GetSampleCount() == 0 {
				continue
			}
			b := h.GetBucket()
			if first, last := b[0].GetUpperBound(), b[len(b)-1].GetUpperBound(); first != 0.005 || last != 10 {
				t.Errorf("classic buckets %v to %v, want 0.005 to 10", first, last)
			}
			native := len(h.GetPositiveDelta())
			if native == 0 || native > 160 {
				t.Errorf("%d native buckets, want 1 to 160", native)
			}
		}
	}
}

// Times are in seconds, and a clock that is behind gives no negative one.
func TestHistogramsAreInSeconds(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	i := m.Agent("a").Input("t")
	for _, observe := range []func(time.Duration){
		func(d time.Duration) { i.Processed("", d) }, i.EndToEnd, i.RetryLateness,
	} {
		observe(1500 * time.Millisecond)
		observe(-time.Hour)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if h := s.GetHistogram(); h.GetSampleCount() > 0 && (h.GetSampleSum() != 1.5 || h.GetSampleCount() != 2) {
				t.Errorf("%s: sum %v of %d, want 1.5 of 2", f.GetName(), h.GetSampleSum(), h.GetSampleCount())
			}
		}
	}
}

func TestSameNameSameSeries(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	agent, input := m.Agent("a"), m.Agent("a").Input("t")
	if again := m.Agent("a"); again != agent || again.Input("t") != input {
		t.Error("a second call made other metrics")
	}
	m.Agent("a").Input("t").Lag(0, time.Second)
	value(t, reg, "parley_consumer_lag_seconds", "agent=a", "topic=t") // fails on two series
	m.Agent("b").Input("t").Consumed(1)
	if got := value(t, reg, "messaging_client_consumed_messages_total", "agent=a"); got != 0 {
		t.Errorf("agent b counted for a: %v", got)
	}
}

func TestTwoWorkersInOneProcess(t *testing.T) {
	t.Parallel()
	newMetrics(t)
	newMetrics(t)
}

func TestNewReportsEveryNameTaken(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	if _, err := New(reg); err != nil {
		t.Fatal(err)
	}
	_, err := New(reg)
	if err == nil {
		t.Fatal("the second registration in one registry went through")
	}
	if got := strings.Count(err.Error(), "duplicate"); got != len(contract) {
		t.Errorf("%d refusals reported, want %d: %v", got, len(contract), err)
	}
}

func TestDestinationsAreBounded(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	a := m.Agent("a")
	for range 2 {
		for n := range maxDestinations + 10 {
			a.Sent(fmt.Sprintf("parley.replies.r%d", n), 1)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "messaging_client_sent_messages_total" && len(f.GetMetric()) != maxDestinations+1 {
			t.Errorf("%d series, want %d", len(f.GetMetric()), maxDestinations+1)
		}
	}
	if got := value(t, reg, "messaging_client_sent_messages_total", "topic=other"); got != 20 {
		t.Errorf("other = %v, want 20", got)
	}
	if got := value(t, reg, "messaging_client_sent_messages_total", "topic=parley.replies.r0"); got != 2 {
		t.Errorf("the first destination = %v, want 2", got)
	}
}

func TestLagIsTheMaximumOverPartitions(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	m, reg := newMetrics(t)
	m.lag.now = func() time.Time { return now }
	i := m.Agent("a").Input("t")
	lag := func() float64 { return value(t, reg, "parley_consumer_lag_seconds") }
	for _, s := range []struct {
		what string
		do   func()
		want float64
	}{
		{"at start", func() {}, 0},
		{"one partition", func() { i.Lag(0, 2*time.Second) }, 2},
		{"an older one", func() { i.Lag(1, 7*time.Second) }, 7},
		{"a younger one does not hide it", func() { i.Lag(2, time.Second) }, 7},
		{"nobody reports for a while", func() { now = now.Add(10 * time.Second) }, 17},
		{"the oldest catches up", func() { i.Lag(1, 500*time.Millisecond) }, 12},
		{"the next oldest is settled", func() { i.Lag(0, 0) }, 11},
		{"its lane goes to another worker", func() { i.LaneClosed(2) }, 0.5},
		{"all settled", func() { i.Lag(1, 0) }, 0},
		{"time alone makes no lag", func() { now = now.Add(time.Hour) }, 0},
		{"a timestamp in the future is none", func() { i.Lag(1, -time.Second) }, 0},
		{"closing a lane that never reported", func() { i.LaneClosed(9) }, 0},
	} {
		s.do()
		if got := lag(); math.Abs(got-s.want) > 1e-9 {
			t.Errorf("%s: lag %v, want %v", s.what, got, s.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	var wg sync.WaitGroup
	for p := range int32(8) {
		wg.Go(func() {
			for n := range 200 {
				i := m.Agent("a").Input("t")
				i.Consumed(1)
				i.Processed(streaming.Reasons()[n%17], time.Millisecond)
				i.Sent(fmt.Sprint(n), 1)
				i.Lag(p, time.Duration(n))
				if n%50 == 0 {
					if _, err := reg.Gather(); err != nil {
						t.Error(err)
					}
				}
			}
			m.Agent("a").Input("t").LaneClosed(p)
		})
	}
	wg.Wait()
	if got := value(t, reg, "messaging_client_consumed_messages_total"); got != 1600 {
		t.Errorf("consumed %v, want 1600", got)
	}
}

// The way of a message that succeeds must cost the engine next to nothing.
func TestNoAllocations(t *testing.T) {
	m, _ := newMetrics(t)
	i := m.Agent("a").Input("t")
	i.Sent("u", 0)
	i.Lag(0, time.Second)
	i.Processed("", time.Millisecond)
	i.EndToEnd(time.Millisecond)
	if got := testing.AllocsPerRun(1000, func() {
		i.Consumed(1)
		i.Sent("u", 1)
		i.Processed("", time.Millisecond)
		i.EndToEnd(time.Millisecond)
		i.InFlight(1)
		i.InFlight(-1)
		i.Lag(0, time.Second)
	}); got > 1 { // the topic as a key of sync.Map
		t.Errorf("%v allocations for a message", got)
	}
}

func BenchmarkMessage(b *testing.B) {
	m, err := New(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	i := m.Agent("a").Input("t")
	b.ReportAllocs()
	for b.Loop() {
		i.Consumed(1)
		i.Sent("u", 1)
		i.Processed("", time.Millisecond)
		i.EndToEnd(time.Millisecond)
		i.InFlight(1)
		i.InFlight(-1)
		i.Lag(0, time.Second)
	}
}
