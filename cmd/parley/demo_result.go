package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
)

// demoResult is what the demo ends with: over all runs on the folder, and of
// this run.
type demoResult struct {
	demoTotals
	demoPatterns
	ThisRun demoTotals `json:"this_run"`

	effects string // what the outside service took, for people
}

type demoTotals struct {
	Published    int64                  `json:"published"` // records in the stream
	Agents       map[string]agentResult `json:"agents"`
	Conservation string                 `json:"conservation"`

	order []string
}

type agentResult struct {
	Accepted     int64                      `json:"accepted"`
	Done         int64                      `json:"done"`
	DoneByType   map[string]int64           `json:"done_by_type"`
	Skipped      int64                      `json:"skipped"`
	Duplicates   int64                      `json:"duplicates"`
	Redeliveries int64                      `json:"redeliveries"`
	Retrying     int64                      `json:"retrying"`
	Scheduled    int64                      `json:"scheduled"` // of the retrying: their time has not come
	Dead         int64                      `json:"dead"`
	DeadByReason map[streaming.Reason]int64 `json:"dead_by_reason"`
	LatencyMS    latencyResult              `json:"latency_ms"`
}

type latencyResult struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func newDemoResult(before, after *demoAudit, effects string) *demoResult {
	since := make([]*audit.Report, len(after.reports))
	for i, r := range after.reports {
		since[i] = r.Since(before.reports[i])
	}
	return &demoResult{
		demoTotals: totals(after.published, after.reports),
		ThisRun:    totals(after.published-before.published, since),
		effects:    effects,
	}
}

func totals(published int64, reports []*audit.Report) demoTotals {
	t := demoTotals{Published: published, Agents: make(map[string]agentResult), Conservation: audit.Exact}
	var off []string
	for _, r := range reports {
		t.order = append(t.order, r.Agent)
		t.Agents[r.Agent] = agentResult{
			Accepted: r.Accepted, Done: r.Done, DoneByType: r.DoneByType, Skipped: r.Skipped, Duplicates: r.Duplicates,
			Redeliveries: r.Redeliveries, Retrying: r.Retrying, Scheduled: r.Scheduled, Dead: r.Dead, DeadByReason: r.DeadByReason,
			LatencyMS: latencyResult{P50: millis(r.Latency.P50), P99: millis(r.Latency.P99)},
		}
		if c := r.Conservation(); c != audit.Exact {
			off = append(off, c)
		}
	}
	if len(off) > 0 {
		t.Conservation = strings.Join(off, "; ")
	}
	return t
}

func millis(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*1000) / 1000
}

func (r *demoResult) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	var b strings.Builder
	if r.ThisRun.Published != r.Published {
		fmt.Fprintf(&b, "This run: %d records published.\n", r.ThisRun.Published)
		r.ThisRun.table(&b)
		fmt.Fprintf(&b, "\nAll runs on this log: %d records published.\n", r.Published)
	} else {
		fmt.Fprintf(&b, "%d records published.\n", r.Published)
	}
	r.table(&b)
	b.WriteByte('\n')
	r.demoPatterns.lines(&b)
	fmt.Fprintf(&b, "%s. Conservation: %s.\n", r.effects, r.Conservation)
	_, err := io.WriteString(w, b.String())
	return err
}

// table writes one line per agent. Scheduled are deadlines that nobody has to wait
// for: they are retrying in the topics, and stand for themselves here.
func (t *demoTotals) table(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(tw, "agent\taccepted\tdone\tskipped\tduplicates\tscheduled\tretrying\tdead\tredeliveries\tp50 ms\tp99 ms\t")
	for _, name := range t.order {
		a := t.Agents[name]
		_, _ = fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%s\n", name, a.Accepted, a.Done, a.Skipped, a.Duplicates,
			a.Scheduled, a.Retrying-a.Scheduled, a.Dead, a.Redeliveries, a.LatencyMS.P50, a.LatencyMS.P99, reasons(a.DeadByReason))
	}
	_ = tw.Flush() // into a strings.Builder
}

// reasons says why messages are dead.
func reasons(dead map[streaming.Reason]int64) string {
	var texts []string
	for _, r := range slices.Sorted(maps.Keys(dead)) {
		texts = append(texts, fmt.Sprintf("%s %d", r, dead[r]))
	}
	if len(texts) == 0 {
		return ""
	}
	return "  dead by reason: " + strings.Join(texts, ", ")
}
