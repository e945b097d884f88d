package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Exact is what Report.Conservation says when nothing is off.
const Exact = "exact"

// Report is what became of a group's records.
type Report struct {
	Agent        string
	Appended     map[string]int64 // records in each input topic, accepted or not
	Accepted     int64
	Done         int64
	DoneByType   map[string]int64 // by message type
	Skipped      int64
	Duplicates   int64
	Retrying     int64
	Scheduled    int64 // of the retrying: not tried yet, as its time (ce_deliverat) had not come when it was read
	Dead         int64
	DeadByReason map[streaming.Reason]int64
	// Redeliveries are the handler attempts after the first of their message
	// that marks, dead letters and waiting copies tell of. An attempt that a
	// crash cut short has left no trace.
	Redeliveries int64
	// Latency is from ce_time, or the record's timestamp, to the done mark.
	Latency Latency

	problems problems
	ledgers  map[streaming.TopicPartition]int64 // how far each ledger was read
	all      []time.Duration
	recent   []time.Duration // of what was done after the earlier report
}

// Latency is two quantiles: the smallest latency that so many are not above.
// Both are 0 where nothing was done.
type Latency struct{ P50, P99 time.Duration }

func newReport(agent string) *Report {
	return &Report{
		Agent:        agent,
		Appended:     make(map[string]int64),
		DoneByType:   make(map[string]int64),
		DeadByReason: make(map[streaming.Reason]int64),
		ledgers:      make(map[streaming.TopicPartition]int64),
	}
}

func (r *Report) redelivered(attempts int) { r.Redeliveries += int64(max(attempts-1, 0)) }

func (r *Report) latency(d time.Duration, recent bool) {
	d = max(d, 0) // clocks of two machines can say so
	r.all = append(r.all, d)
	if recent {
		r.recent = append(r.recent, d)
	}
}

// add takes in the report of one more partition.
func (r *Report) add(o *Report) {
	r.Accepted += o.Accepted
	r.Done += o.Done
	r.Skipped += o.Skipped
	r.Duplicates += o.Duplicates
	r.Retrying += o.Retrying
	r.Scheduled += o.Scheduled
	r.Dead += o.Dead
	r.Redeliveries += o.Redeliveries
	sum(r.Appended, o.Appended, 1)
	sum(r.DoneByType, o.DoneByType, 1)
	sum(r.DeadByReason, o.DeadByReason, 1)
	maps.Copy(r.ledgers, o.ledgers)
	r.all = append(r.all, o.all...)
	r.recent = append(r.recent, o.recent...)
	r.problems.join(&o.problems)
	r.Latency = latencyOf(r.all)
}

// Since is what has changed since the earlier report that this one was read
// with. Retrying and Scheduled are negative where messages that waited then do not any more.
func (r *Report) Since(earlier *Report) *Report {
	d := newReport(r.Agent)
	d.Accepted = r.Accepted - earlier.Accepted
	d.Done = r.Done - earlier.Done
	d.Skipped = r.Skipped - earlier.Skipped
	d.Duplicates = r.Duplicates - earlier.Duplicates
	d.Retrying = r.Retrying - earlier.Retrying
	d.Scheduled = r.Scheduled - earlier.Scheduled
	d.Dead = r.Dead - earlier.Dead
	d.Redeliveries = r.Redeliveries - earlier.Redeliveries
	for _, of := range []struct {
		r    *Report
		sign int64
	}{{r, 1}, {earlier, -1}} {
		sum(d.Appended, of.r.Appended, of.sign)
		sum(d.DoneByType, of.r.DoneByType, of.sign)
		sum(d.DeadByReason, of.r.DeadByReason, of.sign)
	}
	d.all = slices.Clone(r.recent)
	d.Latency = latencyOf(d.all)
	d.problems = r.problems
	return d
}

// sum adds counts to counts; what comes to nothing is left out.
func sum[K comparable](to, of map[K]int64, sign int64) {
	for k, n := range of {
		if to[k] += sign * n; to[k] == 0 {
			delete(to, k)
		}
	}
}

func latencyOf(all []time.Duration) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)*percent+99)/100-1] }
	return Latency{P50: at(50), P99: at(99)}
}

// Conservation is Exact, or what is off.
func (r *Report) Conservation() string {
	var off []string
	if ended := r.Done + r.Skipped + r.Duplicates + r.Retrying + r.Dead; ended != r.Accepted {
		off = append(off, fmt.Sprintf("%s: %d accepted, but %d = %d done + %d skipped + %d duplicates + %d retrying + %d dead",
			r.Agent, r.Accepted, ended, r.Done, r.Skipped, r.Duplicates, r.Retrying, r.Dead))
	}
	off = append(off, r.problems.texts()...)
	if len(off) == 0 {
		return Exact
	}
	return strings.Join(off, "; ")
}

// problems keeps the first few of what is off, and the number of all.
type problems struct {
	first []string
	count int
}

const maxProblems = 5

func (p *problems) add(format string, args ...any) {
	p.count++
	if len(p.first) < maxProblems {
		p.first = append(p.first, fmt.Sprintf(format, args...))
	}
}

func (p *problems) join(o *problems) {
	p.count += o.count
	p.first = append(p.first, o.first...)
	p.first = p.first[:min(len(p.first), maxProblems)]
}

func (p *problems) texts() []string {
	texts := slices.Clone(p.first)
	if more := p.count - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return texts
}
