package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const evalInterval = 30 * time.Second

// ruleCases has, for each rule, series under which it fires and series under
// which it must not. Series are in promqltest's notation, a sample per minute.
var ruleCases = []struct {
	alert, what string
	series      []string
	at          time.Duration
	fires       int    // how many alerts
	labels      string // of the first, where it fires
}{
	{
		"ParleyDeadLetters", "the first one ever",
		[]string{
			`parley_dead_letters_total{agent="a",topic="t",reason="decode"} 0 0 0 1 1`,
			`parley_dead_letters_total{agent="a",topic="t",reason="panic"} 0 0 0 0 0`,
		},
		4 * time.Minute, 1, `{agent="a", alertname="ParleyDeadLetters", reason="decode", severity="warning", topic="t"}`,
	},
	{
		"ParleyDeadLetters", "two reasons are two alerts",
		[]string{
			`parley_dead_letters_total{agent="a",topic="t",reason="decode"} 0 0 0 1 1`,
			`parley_dead_letters_total{agent="a",topic="t",reason="panic"} 0 0 3 3 3`,
		},
		4 * time.Minute, 2, "",
	},
	{
		"ParleyDeadLetters", "none",
		[]string{
			`parley_dead_letters_total{agent="a",topic="t",reason="decode"} 0x20`,
		},
		10 * time.Minute, 0, "",
	},
	{
		"ParleyDeadLetters", "only old ones",
		[]string{
			`parley_dead_letters_total{agent="a",topic="t",reason="decode"} 0 5 5x20`,
		},
		15 * time.Minute, 0, "",
	},
	{
		"ParleyDeadLetters", "a restarted worker counts from zero",
		[]string{
			`parley_dead_letters_total{agent="a",topic="t",reason="decode"} 7x9 0x10`,
		},
		12 * time.Minute, 0, "",
	},

	{
		"ParleyLagHigh", "on one of two workers",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t",instance="1"} 90x20`,
			`parley_consumer_lag_seconds{agent="a",topic="t",instance="2"} 0x20`,
		},
		10 * time.Minute, 1, `{agent="a", alertname="ParleyLagHigh", severity="warning", topic="t"}`,
	},
	{
		"ParleyLagHigh", "not yet for 5 minutes",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 90x20`,
		},
		4 * time.Minute, 0, "",
	},
	{
		"ParleyLagHigh", "just under the bound",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 60x20`,
		},
		15 * time.Minute, 0, "",
	},
	{
		"ParleyLagHigh", "catches up now and then",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 90 90 90 1 90 90 90 1 90 90 90 1 90 90`,
		},
		13 * time.Minute, 0, "",
	},

	{
		"ParleyLagGrowing", "a lane is stuck",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 0+60x30`,
		},
		20 * time.Minute, 1, `{agent="a", alertname="ParleyLagGrowing", severity="critical", topic="t"}`,
	},
	{
		"ParleyLagGrowing", "slower than its input",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 40+12x30`,
		},
		25 * time.Minute, 1, `{agent="a", alertname="ParleyLagGrowing", severity="critical", topic="t"}`,
	},
	{
		"ParleyLagGrowing", "high but steady",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 300x40`,
		},
		30 * time.Minute, 0, "",
	},
	{
		"ParleyLagGrowing", "high and falling",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 3000-60x40`,
		},
		30 * time.Minute, 0, "",
	},
	{
		"ParleyLagGrowing", "growing, but over 30 s for less than 10 minutes",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 0+7x30`,
		},
		13 * time.Minute, 0, "",
	},
	{
		"ParleyLagGrowing", "a ripple under 30 s",
		[]string{
			`parley_consumer_lag_seconds{agent="a",topic="t"} 0+8x3 0+8x3 0+8x3 0+8x3 0+8x3 0+8x3`,
		},
		20 * time.Minute, 0, "",
	},

	{
		"ParleyRetryLate", "seconds late",
		[]string{
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="1"} 0+1x20`,
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="5"} 0+60x20`,
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="+Inf"} 0+60x20`,
		},
		12 * time.Minute, 1, `{agent="a", alertname="ParleyRetryLate", severity="warning", topic="t"}`,
	},
	{
		"ParleyRetryLate", "in time, but for one in a thousand",
		[]string{
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="0.01"} 0+999x20`,
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="5"} 0+1000x20`,
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="+Inf"} 0+1000x20`,
		},
		15 * time.Minute, 0, "",
	},
	{
		"ParleyRetryLate", "no retries at all",
		[]string{
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="1"} 0x20`,
			`parley_retry_lateness_seconds_bucket{agent="a",topic="t",le="+Inf"} 0x20`,
		},
		15 * time.Minute, 0, "",
	},

	{
		"ParleyRedeliveryRateHigh", "half of all attempts",
		[]string{
			`parley_redeliveries_total{agent="a",topic="t"} 0+3x30`,
			`messaging_process_duration_seconds_count{agent="a",topic="t"} 0+3x30`,
			`messaging_process_duration_seconds_count{agent="a",topic="t",error_type="handler"} 0+3x30`,
		},
		20 * time.Minute, 1, `{agent="a", alertname="ParleyRedeliveryRateHigh", severity="warning", topic="t"}`,
	},
	{
		"ParleyRedeliveryRateHigh", "one in ten",
		[]string{
			`parley_redeliveries_total{agent="a",topic="t"} 0+6x30`,
			`messaging_process_duration_seconds_count{agent="a",topic="t"} 0+60x30`,
		},
		25 * time.Minute, 0, "",
	},
	{
		"ParleyRedeliveryRateHigh", "nothing to do",
		[]string{
			`parley_redeliveries_total{agent="a",topic="t"} 0x30`,
			`messaging_process_duration_seconds_count{agent="a",topic="t"} 0x30`,
		},
		25 * time.Minute, 0, "",
	},
	{
		"ParleyRedeliveryRateHigh", "a short burst",
		[]string{
			`parley_redeliveries_total{agent="a",topic="t"} 0 0 0 50 50x30`,
			`messaging_process_duration_seconds_count{agent="a",topic="t"} 0+20x40`,
		},
		13 * time.Minute, 0, "",
	},

	{
		"ParleyLedgerWindowCut", "one of two workers is over its size",
		[]string{
			`parley_ledger_window_seconds{agent="a",topic="t",instance="1"} 86400 86400 600 600`,
			`parley_ledger_window_configured_seconds{agent="a",topic="t",instance="1"} 86400x3`,
			`parley_ledger_window_seconds{agent="a",topic="t",instance="2"} 86400x3`,
			`parley_ledger_window_configured_seconds{agent="a",topic="t",instance="2"} 86400x3`,
		},
		3 * time.Minute, 1, `{agent="a", alertname="ParleyLedgerWindowCut", instance="1", severity="warning", topic="t"}`,
	},
	{
		"ParleyLedgerWindowCut", "whole",
		[]string{
			`parley_ledger_window_seconds{agent="a",topic="t"} 0 0 3600x10`,
			`parley_ledger_window_configured_seconds{agent="a",topic="t"} 0 0 3600x10`,
		},
		10 * time.Minute, 0, "",
	},
	{
		"ParleyLedgerWindowCut", "whole again",
		[]string{
			`parley_ledger_window_seconds{agent="a",topic="t"} 60 60 3600x10`,
			`parley_ledger_window_configured_seconds{agent="a",topic="t"} 3600x12`,
		},
		10 * time.Minute, 0, "",
	},

	{
		"ParleyBreakerOpen", "one of two instances",
		[]string{
			`parley_breaker_open{agent="a",instance="1"} 0 1x10`,
			`parley_breaker_open{agent="a",instance="2"} 0x11`,
		},
		7 * time.Minute, 1, `{agent="a", alertname="ParleyBreakerOpen", severity="warning"}`,
	},
	{
		"ParleyBreakerOpen", "for a moment",
		[]string{`parley_breaker_open{agent="a"} 0 1 1 1 0 0 0 0 0 0 0`},
		10 * time.Minute, 0, "",
	},
	{
		"ParleyPaused", "forgotten",
		[]string{`parley_paused{agent="a"} 1x70`},
		61 * time.Minute, 1, `{agent="a", alertname="ParleyPaused", severity="warning"}`,
	},
	{
		"ParleyPaused", "for half an hour",
		[]string{`parley_paused{agent="a"} 1x30 0x60`},
		80 * time.Minute, 0, "",
	},
	{
		"ParleyControlSkipped", "one",
		[]string{`parley_control_skipped_total{agent="a"} 0 0 1 1`},
		3 * time.Minute, 1, `{agent="a", alertname="ParleyControlSkipped", severity="warning"}`,
	},
	{
		"ParleyControlSkipped", "only old ones",
		[]string{`parley_control_skipped_total{agent="a"} 4x20`},
		20 * time.Minute, 0, "",
	},

	{
		"ParleyOutboxStuck", "no broker",
		[]string{`parley_outbox_oldest_seconds{outbox="shop"} 0+60x10`},
		5 * time.Minute, 1, `{alertname="ParleyOutboxStuck", outbox="shop", severity="critical"}`,
	},
	{
		"ParleyOutboxStuck", "a short pause",
		[]string{`parley_outbox_oldest_seconds{outbox="shop"} 0 30 90 0 0 0 0 0 0 0`},
		9 * time.Minute, 0, "",
	},
	{
		"ParleyOutboxParked", "the first one",
		[]string{`parley_outbox_parked_total{outbox="shop"} 0 0 1 1`},
		3 * time.Minute, 1, `{alertname="ParleyOutboxParked", outbox="shop", severity="warning"}`,
	},
	{
		"ParleyOutboxParked", "only old ones",
		[]string{`parley_outbox_parked_total{outbox="shop"} 4x20`},
		15 * time.Minute, 0, "",
	},

	{
		"ParleyWorkerDown", "one of two",
		[]string{
			`up{job="parley-worker",instance="1"} 1 1 0 0 0 0`,
			`up{job="parley-worker",instance="2"} 1 1 1 1 1 1`,
		},
		4 * time.Minute, 1, `{alertname="ParleyWorkerDown", instance="1", job="parley-worker", severity="critical"}`,
	},
	{
		"ParleyWorkerDown", "a scrape that failed once",
		[]string{
			`up{job="parley",instance="1"} 1 1 0 1 1 1`,
		},
		150 * time.Second, 0, "",
	},
	{
		"ParleyWorkerDown", "another job",
		[]string{
			`up{job="kafka",instance="1"} 0x10`,
		},
		5 * time.Minute, 0, "",
	},

	{
		"ParleyWorkersAbsent", "never seen",
		[]string{`up{job="kafka"} 1x20`},
		6 * time.Minute, 1, `{alertname="ParleyWorkersAbsent", severity="critical"}`,
	},
	{
		"ParleyWorkersAbsent", "gone",
		[]string{
			`parley_in_flight{agent="a",topic="t"} 0 0 0 stale`,
		},
		9 * time.Minute, 1, "",
	},
	{
		"ParleyWorkersAbsent", "idle is not absent",
		[]string{
			`parley_in_flight{agent="a",topic="t"} 0x20`,
		},
		15 * time.Minute, 0, "",
	},
	{
		"ParleyWorkersAbsent", "a restart",
		[]string{
			`parley_in_flight{agent="a",topic="t"} 0 0 0 stale _ _ 0x10`,
		},
		10 * time.Minute, 0, "",
	},
}

// ruleGroups loads every rule file with Prometheus' own rule manager.
func ruleGroups(t *testing.T, ll *promqltest.LazyLoader) []*rules.Group {
	t.Helper()
	files, err := filepath.Glob("prometheus/rules/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rule files (%v)", err)
	}
	m := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(ll.QueryEngine(), ll.Storage()),
		AppendableV2: ll.Storage(),
		Context:      context.Background(),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Logger:       slog.New(slog.DiscardHandler),
		Parser:       parser.NewParser(parser.Options{}),
	})
	groups, errs := m.LoadGroups(evalInterval, labels.EmptyLabels(), "", nil, false, files...)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return slices.Collect(maps.Values(groups))
}

func loader(t *testing.T, series []string) *promqltest.LazyLoader {
	t.Helper()
	ll, err := promqltest.NewLazyLoader("load 1m\n  "+strings.Join(series, "\n  ")+"\n", promqltest.LazyLoaderOpts{
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: parser.NewParser(parser.Options{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ll.Close(); err != nil {
			t.Error(err)
		}
	})
	return ll
}

// firing evaluates all rules up to a time, as the server would, and returns
// the alerts of one rule that then fire.
func firing(t *testing.T, series []string, alert string, at time.Duration) []*rules.Alert {
	t.Helper()
	ll := loader(t, series)
	groups := ruleGroups(t, ll)
	var found *rules.AlertingRule
	for _, g := range groups {
		for _, r := range g.Rules() {
			if ar, ok := r.(*rules.AlertingRule); ok {
				ar.SetRestored(true)
				if ar.Name() == alert {
					found = ar
				}
			}
		}
	}
	if found == nil {
		t.Fatalf("no rule %s", alert)
	}
	start := time.Unix(0, 0).UTC()
	for ts := start; !ts.After(start.Add(at)); ts = ts.Add(evalInterval) {
		ll.WithSamplesTill(ts, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				g.Eval(ll.Context(), ts)
				for _, r := range g.Rules() {
					if err := r.LastError(); err != nil {
						t.Fatalf("%s: %v", r.Name(), err)
					}
				}
			}
		})
	}
	var out []*rules.Alert
	for _, a := range found.ActiveAlerts() {
		if a.State == rules.StateFiring {
			out = append(out, a)
		}
	}
	return out
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, c := range ruleCases {
		t.Run(c.alert+"/"+c.what, func(t *testing.T) {
			t.Parallel()
			got := firing(t, c.series, c.alert, c.at)
			if len(got) != c.fires {
				t.Fatalf("%d alerts fire, want %d", len(got), c.fires)
			}
			for _, a := range got {
				for _, name := range []string{"summary", "description", "runbook"} {
					text := a.Annotations.Get(name)
					if text == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "<error") {
						t.Errorf("%s: %q", name, text)
					}
				}
			}
			if c.labels != "" && got[0].Labels.String() != c.labels {
				t.Errorf("labels %s, want %s", got[0].Labels, c.labels)
			}
		})
	}
}

// A rule without both kinds of cases is not tested, and a rule on a metric
// that no worker shows can never fire.
func TestRulesAreComplete(t *testing.T) {
	t.Parallel()
	live := load(t, simulated(t, true))
	cases := map[string]bool{}
	for _, c := range ruleCases {
		cases[fmt.Sprint(c.alert, c.fires > 0)] = true
	}
	seen := map[string]bool{}
	for _, g := range ruleGroups(t, loader(t, []string{`x 0`})) {
		for _, r := range g.Rules() {
			ar, ok := r.(*rules.AlertingRule)
			if !ok {
				continue
			}
			if seen[ar.Name()] {
				t.Errorf("two rules are named %s", ar.Name())
			}
			seen[ar.Name()] = true
			if !cases[ar.Name()+"true"] || !cases[ar.Name()+"false"] {
				t.Errorf("%s has no case that fires, or none that is silent", ar.Name())
			}
			if s := ar.Labels().Get("severity"); s != "warning" && s != "critical" {
				t.Errorf("%s: severity %q", ar.Name(), s)
			}
			names, err := selectors(ar.Query().String())
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				m, err := live.eval(n)
				if err != nil {
					t.Fatal(err)
				}
				if points, _ := shown(m); points == 0 {
					t.Errorf("%s reads %s, which no worker shows", ar.Name(), n)
				}
			}
		}
	}
}
