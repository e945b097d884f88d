package retry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type kgoRecord = kgo.Record

var errKilled = errors.New("killed")

// dying is a log on which a run dies at an append: before it, after it, or with
// a part of its records written.
type dying struct {
	retry.Log
	at    int // the append that it dies at
	after func(recs []*streaming.Record) []*streaming.Record
	seen  []string
}

func (d *dying) AppendSync(ctx context.Context, recs ...*streaming.Record) ([]int64, error) {
	n := schemas.ParseRedriveNote(recs[0])
	step := "copy"
	if n != nil {
		step = string(n.Step)
	}
	d.seen = append(d.seen, step)
	if d.at--; d.at >= 0 {
		return d.Log.AppendSync(ctx, recs...)
	}
	if recs = d.after(recs); len(recs) > 0 {
		if _, err := d.Log.AppendSync(ctx, recs...); err != nil {
			return nil, err
		}
	}
	return nil, errKilled
}

// TestARunThatIsKilledGoesOn lets a run die at each of its appends, in three
// ways, start after start, until it comes to its end.
func TestARunThatIsKilledGoesOn(t *testing.T) {
	names := []string{"before", "halfway", "after"}
	ways := []func([]*streaming.Record) []*streaming.Record{
		func([]*streaming.Record) []*streaming.Record { return nil },
		func(recs []*streaming.Record) []*streaming.Record { return recs[:(len(recs)+1)/2] },
		func(recs []*streaming.Record) []*streaming.Record { return recs },
	}
	inEachMode(t, func(s *stage) {
		const n = 48
		s.bury(n)
		s.outcomes(succeed)
		stop := func() {}
		died := map[string]int{}
		for start := 0; ; start++ {
			if start == 100 {
				t.Fatalf("it does not come to its end; died %v", died)
			}
			switch start % 6 { // beside a worker, and without
			case 0:
				stop = s.work()
			case 3:
				stop()
			}
			log := &dying{Log: s.log, at: start % 4, after: ways[start%3]}
			r := s.redrive(retry.Selection{Error: "n"})
			r.Log, r.Rate = log, 30 // batches of three
			err := r.Run(t.Context(), s.plan(r))
			s.audit()
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			died[names[start%3]+" "+log.seen[len(log.seen)-1]]++
		}
		t.Logf("died %v", died)
		stop()
		s.work()
		s.await(func(r *audit.Report) bool { return r.Done == n })
		s.onceInOrder(n)
		s.notes(n)
	})
}

// notes wants one run in the dead-letter topic, with each dead letter redriven
// and counted once.
func (s *stage) notes(n int) {
	s.t.Helper()
	settled, ended, runs := map[[2]int64]bool{}, 0, map[string]bool{}
	for _, rec := range s.cluster.ReadAll(s.t, dead) {
		r := streaming.Record{Value: rec.Value}
		for _, h := range rec.Headers {
			r.Headers = append(r.Headers, streaming.Header{Key: h.Key, Value: h.Value})
		}
		note := schemas.ParseRedriveNote(&r)
		if note == nil {
			continue
		}
		if note.By != "tester" || note.Time.IsZero() {
			s.t.Errorf("note %+v", note)
		}
		runs[note.Run] = true
		for _, o := range note.Offsets {
			settled[[2]int64{int64(rec.Partition), o}] = true
		}
		ended += total(note.Redriven)
		if note.Step == schemas.RedriveBegin && string(note.Selection) != `{"error":"n"}` {
			s.t.Errorf("selection %s", note.Selection)
		}
	}
	if len(settled) != n || ended != n || len(runs) != 1 {
		s.t.Errorf("%d of %d settled, %d counted at the end, %d runs", len(settled), n, ended, len(runs))
	}
}
