package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

type message = *agents.Message[schemas.ErrorReply]

// stepper is an agent with one handler, and a sender to it.
type stepper struct {
	t     *testing.T
	c     *streamtest.Cluster
	p     *agents.Platform
	cfg   agents.Config
	sends *agents.Sender
	ran   *seen // functions of steps, as "message/step"
	ended *seen // messages whose handler has come to its end
}

func newStepper(t *testing.T, exactlyOnce bool) *stepper {
	t.Helper()
	c := streamtest.NewCluster(t)
	s := &stepper{t: t, c: c, p: connect(t, c), ran: newSeen(), ended: newSeen()}
	s.cfg = agents.Config{Retry: quick, ExactlyOnce: exactlyOnce, DrainTimeout: 300 * time.Millisecond}
	var err error
	if s.sends, err = s.p.Sender("giver"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sends.Close)
	return s
}

func (s *stepper) agent(handle func(context.Context, message) error) *agents.Agent {
	a := agents.New("taker", s.cfg)
	agents.On(a, handle)
	return a
}

func (s *stepper) send(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		if err := s.sends.Send(s.t.Context(), s.sends.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key(id))); err != nil {
			s.t.Fatal(err)
		}
	}
}

// step returns how often its function has run for that message.
func (s *stepper) step(ctx context.Context, m message, name string) (int, error) {
	return agents.Step(ctx, m, name, func(context.Context) (int, error) { return s.ran.add(m.ID() + "/" + name), nil })
}

func (s *stepper) wantRuns(want string) {
	s.t.Helper()
	s.ran.mu.Lock()
	defer s.ran.mu.Unlock()
	if got := fmt.Sprint(s.ran.count); got != want {
		s.t.Errorf("functions ran %s, want %s", got, want)
	}
}

func (s *stepper) deadLetters(n int) []*kgo.Record {
	s.t.Helper()
	var dead []*kgo.Record
	eventually(s.t, "the dead letters are there", func() bool {
		dead = s.c.ReadAll(s.t, "parley.inbox.taker.dlq.taker")
		return len(dead) >= n
	})
	return dead
}

// steps are the names of the steps that stand in the ledger.
func (s *stepper) steps() (names []string) {
	s.t.Helper()
	for _, rec := range s.c.ReadAll(s.t, "parley.inbox.taker.ledger.taker") {
		marks, err := schemas.DecodeMarks(s.t.Context(), s.p.Codec(), rec.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range marks {
			if m.Kind == streaming.MarkStep {
				names = append(names, fmt.Sprintf("%s@%d/%d", m.Step, rec.Partition, rec.Offset))
			}
		}
	}
	return names
}

func header(rec *kgo.Record, key string) string {
	for _, h := range rec.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func TestAStepRunsOnceThroughRetries(t *testing.T) { inEachMode(t, testAStepRunsOnceThroughRetries) }

func testAStepRunsOnceThroughRetries(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	start(t, s.p, s.agent(func(ctx context.Context, m message) error {
		for _, name := range []string{"ask", "pay"} {
			n, err := s.step(ctx, m, name)
			if err != nil || n != 1 {
				t.Errorf("attempt %d: %s is of run %d, %v", m.Attempt, name, n, err)
			}
			if m.Attempt == 1 {
				return errors.New("after the first step")
			}
		}
		if m.Attempt == 2 {
			panic("after the second step")
		}
		s.ended.add(m.ID())
		return nil
	}))
	s.send("a", "b")
	s.ended.await(t, 2)
	s.wantRuns("map[a/ask:1 a/pay:1 b/ask:1 b/pay:1]")
}

func TestAnErrorOfAStepIsNotStored(t *testing.T) { inEachMode(t, testAnErrorOfAStepIsNotStored) }

func testAnErrorOfAStepIsNotStored(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	busy := errors.New("busy")
	start(t, s.p, s.agent(func(ctx context.Context, m message) error {
		got, err := agents.Step(ctx, m, "ask", func(context.Context) (string, error) {
			if s.ran.add(m.ID()) == 1 {
				return "half", busy
			}
			return "whole", nil
		})
		if m.Attempt == 1 && (err != busy || got != "") { //nolint:errorlint // as it is, not wrapped
			t.Errorf("got %q, %v", got, err)
		}
		if err == nil {
			s.ended.add(got)
		}
		return err
	}))
	s.send("a")
	s.ended.await(t, 1)
	if s.ended.count["whole"] != 1 || s.ran.count["a"] != 2 {
		t.Errorf("%v after %v", s.ended.count, s.ran.count)
	}
}

func TestAStepSurvivesItsWorker(t *testing.T) { inEachMode(t, testAStepSurvivesItsWorker) }

func testAStepSurvivesItsWorker(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	stop := start(t, s.p, s.agent(func(ctx context.Context, m message) error {
		if _, err := s.step(ctx, m, "ask"); err != nil {
			return err
		}
		s.ended.add(m.ID())
		<-ctx.Done() // in mid-handler when the worker dies
		_, err := s.step(context.Background(), m, "pay")
		if err == nil {
			t.Error("a handler goes on without its partition")
		}
		return err
	}))
	s.send("a", "b", "c")
	s.ended.await(t, 3)
	stop()
	start(t, s.p, s.agent(func(ctx context.Context, m message) error {
		for _, name := range []string{"ask", "pay"} {
			if n, err := s.step(ctx, m, name); err != nil || n != 1 {
				t.Errorf("%s is of run %d, %v", name, n, err)
			}
		}
		s.ended.add(m.ID())
		return nil
	}))
	s.ended.await(t, 6)
	s.wantRuns("map[a/ask:1 a/pay:1 b/ask:1 b/pay:1 c/ask:1 c/pay:1]")
}

func TestAStepIsTakenOverByAnotherInstance(t *testing.T) {
	inEachMode(t, testAStepIsTakenOverByAnotherInstance)
}

// Each message is in mid-handler when a second instance takes partitions over.
// Half of them have stored their step, half are still in its function.
func testAStepIsTakenOverByAnotherInstance(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	joined := make(chan struct{})
	var lost atomic.Int32
	handle := func(ctx context.Context, m message) error {
		in := strings.HasPrefix(m.ID(), "in")
		result, err := agents.Step(ctx, m, "ask", func(ctx context.Context) (int, error) {
			n := s.ran.add(m.ID())
			if in && n == 1 {
				select {
				case <-ctx.Done(): // and it does not stop for that
				case <-joined:
				}
			}
			return n, nil
		})
		if err != nil {
			lost.Add(1)
			return err
		}
		if !in && m.Attempt == 1 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-joined:
			}
		}
		s.ended.add(fmt.Sprintf("%s of run %d", m.ID(), result))
		return nil
	}
	start(t, s.p, s.agent(handle))
	var ids []string
	for i := range 12 {
		ids = append(ids, fmt.Sprintf("in-%d", i), fmt.Sprintf("after-%d", i))
	}
	s.send(ids...)
	s.ran.await(t, len(ids))
	start(t, s.p, s.agent(handle))
	eventually(t, "the second instance has taken something over", func() bool { return lost.Load() > 0 })
	close(joined)
	s.ended.await(t, len(ids))
	again := 0
	for _, id := range ids {
		n := s.ran.count[id]
		if n == 2 {
			again++
		}
		if strings.HasPrefix(id, "after") && n != 1 {
			t.Errorf("%s: the function ran %d times after its result was stored", id, n)
		}
		if s.ended.count[fmt.Sprintf("%s of run %d", id, n)] != 1 || n > 2 {
			t.Errorf("%s: ran %d times, ends: %v", id, n, s.ended.count)
		}
	}
	if again == 0 || again != int(lost.Load()) {
		t.Errorf("%d ran again, %d handlers had lost their partition", again, lost.Load())
	}
}

func TestWhatAStepRefuses(t *testing.T) { inEachMode(t, testWhatAStepRefuses) }

func testWhatAStepRefuses(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	s.cfg.StepBytes, s.cfg.MessageStepBytes = 100, 250
	text := func(n int) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return strings.Repeat("x", n-2), nil } // and two quotes
	}
	start(t, s.p, s.agent(func(ctx context.Context, m message) error {
		_, err := agents.Step(ctx, m, "one", text(100))
		if err != nil {
			return err
		}
		var large *streaming.StepTooLargeError
		switch m.ID() {
		case "clash":
			_, err = agents.Step(ctx, m, "one", text(10))
		case "large":
			_, err = agents.Step(ctx, m, "two", text(101))
		case "sum":
			if _, err = agents.Step(ctx, m, "two", text(100)); err == nil {
				_, err = agents.Step(ctx, m, "three", text(51))
			}
		case "no name":
			_, err = agents.Step(ctx, m, "", text(10))
		case "no json":
			_, err = agents.Step(ctx, m, "two", func(context.Context) (chan int, error) { return nil, nil })
		case "handled":
			if _, err = agents.Step(ctx, m, "two", text(101)); errors.As(err, &large) && large.Size == 101 {
				err = nil
			}
			s.ended.add(m.ID())
		}
		return err
	}))
	want := map[string]string{
		"clash":   `step "one": the name is used twice in one run of the handler`,
		"large":   `step "two": its result has 101 bytes, the limit is 100`,
		"sum":     `step "three": with it the results of the message have 251 bytes, the limit is 250`,
		"no name": `step "": a step's name has 1 to 128 bytes`,
		"no json": `step "two": encode its result: json: unsupported type: chan int`,
	}
	for id := range want {
		s.send(id)
	}
	s.send("handled")
	for _, d := range s.deadLetters(len(want)) {
		id := header(d, "ce_id")
		if header(d, "parley-reason") != "permanent" || header(d, "parley-attempt") != "1" || header(d, "parley-error") != want[id] {
			t.Errorf("%s is dead as %s after %s attempts: %s", id, header(d, "parley-reason"), header(d, "parley-attempt"), header(d, "parley-error"))
		}
	}
	s.ended.await(t, 1)
}

func TestStepsOutliveTheLedgersWindow(t *testing.T) { inEachMode(t, testStepsOutliveTheLedgersWindow) }

// "live" waits in a tier, "dead" in the dead-letter topic, while the ledger is
// trimmed past where their steps were stored.
func testStepsOutliveTheLedgersWindow(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	s.cfg.LedgerWindow = time.Millisecond
	s.cfg.Retry = retry.Policy{Tiers: []time.Duration{50 * time.Millisecond}, Attempts: 10_000}
	var open atomic.Bool
	a := s.agent(func(ctx context.Context, m message) error {
		if n, err := s.step(ctx, m, "ask "+m.ID()); err != nil || n != 1 {
			t.Errorf("%s: the step is of run %d, %v", m.ID(), n, err)
		}
		switch {
		case open.Load() || m.ID() == "done":
			s.ended.add(m.ID())
			return nil
		case m.ID() == "dead":
			return agents.Permanent(errors.New("no"))
		}
		return errors.New("not yet")
	})
	w, err := s.p.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	stop := startWorker(t, w)
	s.send("live", "dead", "done")
	dead := s.deadLetters(1)[0]
	s.ended.await(t, 1)
	first := s.steps()
	if len(first) != 3 {
		t.Fatalf("steps in the ledger: %v", first)
	}
	maintained := func(what string, enough func(now []string) bool) {
		t.Helper()
		eventually(t, what, func() bool {
			w.Maintain(t.Context())
			return enough(s.steps())
		})
	}
	// Twice past the place where each stands, so that what was carried is carried on.
	for range 2 {
		before := s.steps()
		maintained("the ledger is trimmed past the steps", func(now []string) bool {
			for _, old := range before {
				for _, at := range now {
					if at == old {
						return false
					}
				}
			}
			return true
		})
	}
	if now := fmt.Sprint(s.steps()); !strings.Contains(now, "ask live@") || !strings.Contains(now, "ask dead@") || strings.Contains(now, "ask done@") {
		t.Errorf("carried forward: %s", now)
	}
	stop()

	open.Store(true)
	if w, err = s.p.Worker(a); err != nil {
		t.Fatal(err)
	}
	startWorker(t, w)
	// A redrive: the dead letter in the tier again, with one move more.
	dead.Topic = "parley.inbox.taker.retry-50ms.taker"
	for i, h := range dead.Headers {
		switch h.Key {
		case "parley-moves":
			dead.Headers[i].Value = []byte("2")
		case "parley-attempt":
			dead.Headers[i].Value = []byte("0")
		}
	}
	again := kgo.Record{Topic: dead.Topic, Partition: dead.Partition, Key: dead.Key, Value: dead.Value, Headers: dead.Headers}
	cl := s.c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.ProduceSync(t.Context(), &again).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s.ended.await(t, 3)
	s.wantRuns("map[dead/ask dead:1 done/ask done:1 live/ask live:1]")
	maintained("the steps of what is done are gone", func(now []string) bool { return len(now) == 0 })
}
