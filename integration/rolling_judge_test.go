//go:build integration

package integration

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/integration/internal/chaos"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
)

// rollCounts are what became of a run's tasks.
type rollCounts struct {
	Lost         int // a reader has not seen it
	Repeated     int // a reader has acted upon it more than once
	Disorder     int // put out after a younger one of its key
	WrongValues  int // a field is not what resolution demands
	WrongAnswers int // an answer given again that differs
	DeadBySchema int
	Visible      int // exactly once: outputs that can be read again

	StepCarried   map[string]int // "1→2": steps of one version whose result the other has used
	DiedThenDone  map[string]int // "1→2": dead in one version, done by the other
	StepsAgain    int            // steps that ran more than once
	Again         int            // answers given again
	AnsweredByTwo int            // requests with answers of two runs; at least once, a run that was killed between its answer and its mark
	Dead          map[streaming.Reason]int
}

func (n *rollCounts) wrong() int {
	return n.Lost + n.Repeated + n.Disorder + n.WrongValues + n.WrongAnswers + n.DeadBySchema + n.Visible
}

// rollAnswers are the answers to one request, in the order of the requester's inbox.
type rollAnswers struct {
	id     string
	values []string // of each run that answered
}

// add says what is wrong with an answer. At least once, a run that is killed after
// its answer and before its mark is followed by another run, perhaps of the other
// version. Its answer has the same ID, so the requester takes the first; from then on
// it is the one that is given again.
func (a *rollAnswers) add(id, value string) (wrong string) {
	switch last := len(a.values) - 1; {
	case last < 0:
		a.id, a.values = id, []string{value}
	case id != a.id:
		return fmt.Sprintf("they have two IDs, %q and %q", a.id, id)
	case value == a.values[last]:
	case slices.Contains(a.values, value):
		return fmt.Sprintf("%q is given after %q took its place", value, a.values[last])
	default:
		a.values = append(a.values, value)
	}
	return ""
}

// judge reads everything and compares.
func (r *roll) judge(ctx context.Context) {
	n := rollCounts{StepCarried: map[string]int{}, DiedThenDone: map[string]int{}, Dead: map[streaming.Reason]int{}}
	odd := func(counter *int, format string, args ...any) {
		if *counter++; *counter <= 3 {
			r.t.Errorf(format, args...)
		}
	}
	diedIn := map[string]map[string]bool{} // by task: versions
	r.scan(ctx, r.dead(), func(rec *streaming.Record) {
		reason, ok := rec.Header(schemas.HeaderReason)
		if !ok {
			return // a note of a redrive
		}
		n.Dead[streaming.Reason(reason)]++
		text, _ := rec.Header(schemas.HeaderError)
		if string(reason) == string(streaming.ReasonSchema) {
			odd(&n.DeadBySchema, "dead by schema: %s", text)
		}
		id, _ := rec.Header(schemas.HeaderID)
		if diedIn[string(id)] == nil {
			diedIn[string(id)] = map[string]bool{}
		}
		if _, v, ok := strings.Cut(string(text), "fails in version "); ok {
			diedIn[string(id)][v[:1]] = true
		}
	})
	steps := r.steps()
	for m := range r.fed {
		id := m.String()
		for i, reader := range r.readers {
			acts := reader.acts[id]
			if len(acts) == 0 {
				odd(&n.Lost, "%s is lost for reader %d; it died in %v", id, i+1, diedIn[id])
				continue
			}
			if len(acts) > 1 {
				odd(&n.Repeated, "reader %d acts upon %s %d times: %v", i+1, id, len(acts), acts)
			}
			var maker rolling.Version
			var attempt int
			if _, err := fmt.Sscan(acts[0].Read, &maker, &attempt); err != nil {
				odd(&n.WrongValues, "%s: %q: %v", id, acts[0].Read, err)
				continue
			}
			if want := rolling.Want(m, rolling.Version(i+1), maker, attempt, acts[0].Step); acts[0] != want {
				odd(&n.WrongValues, "reader %d has of %s\n%+v\ninstead of\n%+v", i+1, id, acts[0], want)
			}
			if i > 0 {
				continue // the rest is the worker's, and the same for both
			}
			if f := rolling.FateOf(id); (f.Stumbles || f.Only != 0) && !steps[id][acts[0].Step] {
				odd(&n.WrongValues, "%s: the step's result %q is none of %v", id, acts[0].Step, steps[id])
			}
			if len(steps[id]) > 1 {
				n.StepsAgain++
			}
			if by := acts[0].Step; by != "" && by[:1] != fmt.Sprint(int(maker)) {
				n.StepCarried[fmt.Sprintf("%s→%d", by[:1], maker)]++
			}
			if diedIn[id][fmt.Sprint(int(maker.Other()))] {
				n.DiedThenDone[fmt.Sprintf("%d→%d", maker.Other(), maker)]++
			}
		}
	}
	last, put := map[int]int{}, map[chaos.MessageID]int{}
	r.scan(ctx, streaming.DefaultNamespace.Events(r.name), func(rec *streaming.Record) {
		// The ID is a value's last field, in both versions.
		m, ok := chaos.ParseID(string(rec.Value[max(0, len(rec.Value)-len(chaos.MessageID{}.String())):]))
		if !ok || !r.fed[m] {
			odd(&n.WrongValues, "an output at %d/%d of no task", rec.Partition, rec.Offset)
			return
		}
		if put[m]++; put[m] > 1 {
			if r.exactlyOnce {
				odd(&n.Visible, "%s is put out %d times", m, put[m])
			}
			return
		}
		if diedIn[m.String()] != nil && !r.hold {
			return // its key went on without it
		}
		if at, ok := last[m.Key]; ok && m.Seq < at {
			odd(&n.Disorder, "%s is put out after number %d of its key", m, at)
		}
		last[m.Key] = m.Seq
	})
	for v := rolling.Version(1); v <= 2; v++ {
		given := map[string]*rollAnswers{}
		r.scan(ctx, streaming.DefaultNamespace.Inbox(r.giver(v)), func(rec *streaming.Record) {
			request, _ := rec.Header(schemas.HeaderCausation)
			if kind, _ := rec.Header(schemas.HeaderKind); streaming.Kind(kind) == streaming.KindError {
				return // of a request that was dead, and was redriven since
			}
			a := given[string(request)]
			if a == nil {
				a = &rollAnswers{}
				given[string(request)] = a
			} else {
				n.Again++
			}
			id, _ := rec.Header(schemas.HeaderID)
			if wrong := a.add(string(id), string(rec.Value)); wrong != "" {
				odd(&n.WrongAnswers, "the answers to %s: %s", request, wrong)
			}
		})
		for m := range r.fed {
			a := given[m.String()]
			switch {
			case a != nil && len(a.values) > 1:
				n.AnsweredByTwo++
			case a == nil && rolling.WrittenBy(m) == v && rolling.FateOf(m.String()).Request:
				odd(&n.WrongAnswers, "%s has no answer", m)
			}
		}
	}
	if n.AnsweredByTwo > 0 && (r.exactlyOnce || r.kills == 0) {
		odd(&n.WrongAnswers, "%d requests have two answers, and no run was cut off after its answer", n.AnsweredByTwo)
	}
	r.t.Logf("%+v", n)
	if n.wrong() > 0 {
		r.t.Errorf("%d things are wrong", n.wrong())
	}
	for _, way := range []string{"1→2", "2→1"} {
		if n.StepCarried[way] == 0 || n.DiedThenDone[way] == 0 {
			r.t.Errorf("%s: nothing was put to the test", way)
		}
	}
	if n.Again == 0 {
		r.t.Error("no answer was given again")
	}
	a, err := audit.New(ctx, r.log, r.platform.Codec(), audit.Group{Agent: r.name, Types: []string{"rolling.task"}})
	r.must(err)
	report, err := a.Read(ctx, nil)
	r.must(err)
	if c := report.Conservation(); c != audit.Exact {
		r.t.Errorf("conservation: %s", c)
	}
}

// steps are the results that each task's step has come to, as the workers told.
func (r *roll) steps() map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for slot := range rollWorkers {
		text, err := os.ReadFile(r.fleet.LogFile(slot))
		r.must(err)
		for line := range strings.Lines(string(text)) {
			if word := strings.Fields(line); len(word) == 3 && word[0] == "step" {
				if all[word[1]] == nil {
					all[word[1]] = map[string]bool{}
				}
				all[word[1]][word[2]] = true
			}
		}
	}
	return all
}

// scan reads a topic as it is, read_committed.
func (r *roll) scan(ctx context.Context, topic string, each func(*streaming.Record)) {
	r.t.Helper()
	ends, err := r.log.EndOffsets(ctx, topic)
	r.must(err)
	starts, err := r.log.StartOffsets(ctx, topic)
	r.must(err)
	var ranges []streaming.Range
	for tp := range maps.Keys(ends) {
		ranges = append(ranges, streaming.Range{TopicPartition: tp, From: starts[tp], To: ends[tp]})
	}
	r.must(r.log.Scan(ctx, ranges, func(rec streaming.Record) { each(&rec) }))
}
