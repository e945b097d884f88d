package retry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

const (
	inbox = "parley.inbox.taker"
	dead  = inbox + ".dlq.taker"
	tier1 = inbox + ".retry-50ms.taker"
)

// stage is a fake cluster on which agent taker works, and has dead letters.
type stage struct {
	t       *testing.T
	cluster *streamtest.Cluster
	p       *agents.Platform
	log     *kafka.Log
	once    bool // exactly once

	mu      sync.Mutex
	outcome func(id string, attempt int) error // of the handler
	effects map[string]int                     // by message ID
	order   map[string][]string                // message IDs with their effect, by key
}

func inEachMode(t *testing.T, test func(*stage)) {
	for name, once := range map[string]bool{"at least once": false, "exactly once": true} {
		t.Run(name, func(t *testing.T) {
			c := streamtest.NewCluster(t)
			p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 2})
			if err != nil {
				t.Fatal(err)
			}
			log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(log.Close)
			test(&stage{t: t, cluster: c, p: p, log: log, once: once, effects: map[string]int{}, order: map[string][]string{}})
		})
	}
}

// work runs the agent until the test ends or stop is called.
func (s *stage) work() (stop func()) {
	s.t.Helper()
	a := agents.New("taker", agents.Config{
		ExactlyOnce: s.once,
		Retry:       retry.Policy{Tiers: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond}, Attempts: 3},
	})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.outcome(m.ID(), m.Attempt); err != nil {
			return err
		}
		s.effects[m.ID()]++
		s.order[m.Key] = append(s.order[m.Key], m.ID())
		return nil
	})
	w, err := s.p.Worker(a)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("agent: %v", err)
		}
	})
	s.t.Cleanup(stop)
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		s.t.Fatal("the agent is not ready")
	}
	return stop
}

func (s *stage) outcomes(f func(id string, attempt int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome = f
}

func succeed(string, int) error { return nil }

// fail ends every message as a dead letter: a third of them after attempts.
func fail(id string, _ int) error {
	if strings.HasSuffix(id, "0") {
		return agents.Permanent(errors.New("no " + id))
	}
	if strings.HasSuffix(id, "1") {
		return errors.New("cannot " + id)
	}
	return agents.DeadLetter(streaming.ReasonPolicy, errors.New("must not "+id))
}

// bury sends n messages of three keys and lets them die.
func (s *stage) bury(n int) {
	s.t.Helper()
	s.outcomes(fail)
	stop := s.work()
	sender, err := s.p.Sender("giver")
	if err != nil {
		s.t.Fatal(err)
	}
	defer sender.Close()
	for i := range n {
		if err := sender.Send(s.t.Context(), sender.ToAgent("taker", &schemas.ErrorReply{Reason: "r"}, agents.ID(fmt.Sprintf("%03d", i)), agents.Key(fmt.Sprintf("k%d", i%3)))); err != nil {
			s.t.Fatal(err)
		}
	}
	s.await(func(r *audit.Report) bool { return r.Dead == int64(n) })
	stop()
}

func (s *stage) redrive(sel retry.Selection) *retry.Redrive {
	return &retry.Redrive{
		Log: s.log, Codec: s.p.Codec(), Group: "taker", Inputs: []string{inbox}, Selection: sel, By: "tester",
	}
}

func (s *stage) plan(r *retry.Redrive) *retry.Plan {
	s.t.Helper()
	plan, err := r.Plan(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return plan
}

func (s *stage) run(r *retry.Redrive) *retry.Plan {
	s.t.Helper()
	plan := s.plan(r)
	if err := r.Run(s.t.Context(), plan); err != nil {
		s.t.Fatal(err)
	}
	return plan
}

func (s *stage) audit() *audit.Report {
	s.t.Helper()
	a, err := audit.New(s.t.Context(), s.log, s.p.Codec(), audit.Group{Agent: "taker"})
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := a.Read(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := r.Conservation(); got != audit.Exact {
		s.t.Fatalf("conservation: %s", got)
	}
	return r
}

// await waits until the audit, exact each time, is as it should be.
func (s *stage) await(ok func(*audit.Report) bool) {
	s.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		r := s.audit()
		if ok(r) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not within 20 s: %d done, %d retrying, %d dead of %d", r.Done, r.Retrying, r.Dead, r.Accepted)
		}
		time.Sleep(20 * time.Millisecond) // polls a condition on the fake broker
	}
}

// onceInOrder wants one effect for each message, in the order of its key.
func (s *stage) onceInOrder(n int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.effects) != n {
		s.t.Errorf("%d of %d messages had their effect", len(s.effects), n)
	}
	for id, count := range s.effects {
		if count != 1 {
			s.t.Errorf("%s had its effect %d times", id, count)
		}
	}
	for key, ids := range s.order {
		if !slices.IsSorted(ids) {
			s.t.Errorf("key %s: %v", key, ids)
		}
	}
}

func total(m map[streaming.Reason]int) (n int) {
	for v := range maps.Values(m) {
		n += v
	}
	return n
}

func TestRedrivenMessagesAreDoneOnceInOrder(t *testing.T) {
	inEachMode(t, func(s *stage) {
		s.bury(30)
		letters := s.cluster.ReadAll(t, dead)
		plan := s.run(s.redrive(retry.Selection{}))
		if total(plan.Redriven) != 30 || plan.Redriven[streaming.ReasonPermanent] != 3 || plan.Redriven[streaming.ReasonHandler] != 3 {
			t.Errorf("redriven %v", plan.Redriven)
		}
		if r := s.audit(); r.Retrying != 30 || r.Dead != 0 {
			t.Errorf("before a worker: %d retrying, %d dead", r.Retrying, r.Dead)
		}
		// Byte for byte, with the history beside it.
		byID := map[string]streaming.Hop{}
		for i, rec := range append(letters, s.cluster.ReadAll(t, tier1)...) {
			var headers []streaming.Header
			for _, h := range rec.Headers {
				headers = append(headers, streaming.Header{Key: h.Key, Value: h.Value})
			}
			original, hop, ok, err := schemas.SplitHop(headers)
			if !ok {
				t.Fatal(err)
			}
			same := fmt.Sprintf("%d %q %x %q", rec.Partition, rec.Key, rec.Value, original)
			was, again := byID[same]
			switch {
			case i < len(letters):
				byID[same] = hop
			case again && hop.Moves <= was.Moves: // of its first life
			case !again:
				t.Errorf("the copy of %v is not as the dead letter: %s", hop.Origin, same)
			default:
				want := was
				want.Attempt, want.Moves = 0, was.Moves+1
				if hop != want {
					t.Errorf("hop data %+v, want %+v", hop, want)
				}
			}
		}
		s.outcomes(func(id string, attempt int) error {
			if strings.HasSuffix(id, "3") && attempt == 1 {
				return errors.New("once more") // attempts start anew, so it is not dead
			}
			return nil
		})
		s.work()
		s.await(func(r *audit.Report) bool { return r.Done == 30 })
		s.onceInOrder(30)
		if plan := s.plan(s.redrive(retry.Selection{})); total(plan.ToDo) != 0 || plan.LeftOut.Redriven != 30 {
			t.Errorf("a second run: %+v", plan)
		}
	})
}

func TestPlanWritesNothingAndCountsWhatIsSelected(t *testing.T) {
	inEachMode(t, func(s *stage) {
		s.bury(30)
		before := s.cluster.ReadAll(t, dead, tier1, inbox+".ledger.taker")
		key, none := "k1", ""
		first := s.cluster.ReadAll(t, dead)
		slices.SortFunc(first, func(a, b *kgoRecord) int { return a.Timestamp.Compare(b.Timestamp) })
		middle := first[15].Timestamp
		sooner := 0
		for _, rec := range first {
			if rec.Timestamp.Before(middle) {
				sooner++
			}
		}
		for name, c := range map[string]struct {
			sel  retry.Selection
			want int
		}{
			"all":            {retry.Selection{}, 30},
			"reason":         {retry.Selection{Reason: streaming.ReasonHandler}, 3},
			"key":            {retry.Selection{Key: &key}, 10},
			"no such key":    {retry.Selection{Key: &none}, 0},
			"type":           {retry.Selection{Type: "agent.error"}, 30},
			"other type":     {retry.Selection{Type: "agent.ack"}, 0},
			"since":          {retry.Selection{Since: middle}, 30 - sooner},
			"until":          {retry.Selection{Until: middle}, sooner},
			"conversation":   {retry.Selection{Conversation: "007"}, 1},
			"error":          {retry.Selection{Error: "must not 00"}, 8},
			"key and reason": {retry.Selection{Key: &key, Reason: streaming.ReasonPermanent}, 1},
		} {
			if plan := s.plan(s.redrive(c.sel)); total(plan.ToDo) != c.want {
				t.Errorf("%s: %v, want %d", name, plan.ToDo, c.want)
			}
		}
		if after := s.cluster.ReadAll(t, dead, tier1, inbox+".ledger.taker"); len(after) != len(before) {
			t.Errorf("%d records before, %d after", len(before), len(after))
		}
	})
}

func TestOnlyTheLatestDeadLetterIsRedriven(t *testing.T) {
	inEachMode(t, func(s *stage) {
		s.bury(9)
		stop := s.work() // fails on
		s.run(s.redrive(retry.Selection{}))
		// Attempts of both lives count: three for one message, else one.
		deadAgain := func(lives int64) func(*audit.Report) bool {
			return func(r *audit.Report) bool { return r.Dead == 9 && r.Redeliveries == 2*lives+(lives-1)*9 }
		}
		s.await(deadAgain(2))
		stop()
		plan := s.run(s.redrive(retry.Selection{}))
		if total(plan.Redriven) != 9 || plan.LeftOut.Redriven != 9 {
			t.Errorf("redriven %v, left out %+v", plan.Redriven, plan.LeftOut)
		}
		s.outcomes(succeed)
		s.work()
		s.await(func(r *audit.Report) bool { return r.Done == 9 })
		s.onceInOrder(9)
	})
}

func TestRateIsKept(t *testing.T) {
	inEachMode(t, func(s *stage) {
		s.bury(12)
		r := s.redrive(retry.Selection{})
		r.Rate = 20
		var told []int
		r.Progress = func(done, of int) { told = append(told, done, of) }
		start := time.Now()
		s.run(r)
		if took := time.Since(start); took < 500*time.Millisecond {
			t.Errorf("12 at 20 per second took %s", took)
		}
		if n := len(told); n == 0 || told[n-2] != 12 || told[n-1] != 12 {
			t.Errorf("progress %v", told)
		}
	})
}
