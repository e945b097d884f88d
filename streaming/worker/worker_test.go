package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(crashing); args != "" {
		fmt.Fprintln(os.Stderr, crashingProcess(args))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// seen counts what a handler was given, by message ID.
type seen struct {
	mu    sync.Mutex
	count map[string]int
	order []string
	note  chan struct{}
}

func newSeen() *seen { return &seen{count: map[string]int{}, note: make(chan struct{}, 1)} }

func (s *seen) add(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[id]++
	s.order = append(s.order, id)
	select {
	case s.note <- struct{}{}:
	default:
	}
	return s.count[id]
}

func (s *seen) await(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		have := len(s.order)
		s.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-s.note:
		case <-deadline:
			t.Fatalf("handled %d of %d", have, n)
		}
	}
}

func connect(t *testing.T, c *streamtest.Cluster) *agents.Platform {
	t.Helper()
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 3, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs an agent until the test ends or the returned stop is called.
func start(t *testing.T, p *agents.Platform, a *agents.Agent) (stop func()) {
	t.Helper()
	w, err := p.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	return startWorker(t, w)
}

func startWorker(t *testing.T, w *worker.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-ended:
		t.Fatalf("agent ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("agent is not ready")
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("agent: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func inEachMode(t *testing.T, test func(t *testing.T, exactlyOnce bool)) {
	t.Run("at least once", func(t *testing.T) { test(t, false) })
	t.Run("exactly once", func(t *testing.T) { test(t, true) })
}

var quick = retry.Policy{Tiers: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond}, Attempts: 3}

func TestMessagesAreHandledOnceAcrossARestart(t *testing.T) {
	inEachMode(t, testMessagesAreHandledOnceAcrossARestart)
}

func testMessagesAreHandledOnceAcrossARestart(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	make := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			got.add(m.ID())
			return nil
		})
		return a
	}
	stop := start(t, p, make())
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	send := func() {
		for i := range 100 {
			id := fmt.Sprintf("m-%d", i)
			if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Reason: id}, agents.ID(id), agents.Key(id))); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	got.await(t, 100)
	stop()
	send() // the same messages again
	stop = start(t, p, make())
	if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID("last"), agents.Key("m-0"))); err != nil {
		t.Fatal(err)
	}
	got.await(t, 101)
	stop()
	for id, n := range got.count {
		if n != 1 {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
}

func TestFailuresAreRetriedInOrderThenDead(t *testing.T) {
	inEachMode(t, testFailuresAreRetriedInOrderThenDead)
}

func testFailuresAreRetriedInOrderThenDead(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		n := got.add(m.ID())
		switch m.Payload.Reason {
		case "twice":
			if n <= 2 {
				return errors.New("not yet")
			}
		case "never":
			return errors.New("never")
		case "panic":
			panic("boom")
		}
		return nil
	})
	start(t, p, a)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, what := range []string{"twice", "never", "ok", "panic", "fine"} {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Reason: what}, agents.ID(what), agents.Key("one"))); err != nil {
			t.Fatal(err)
		}
	}
	got.await(t, 3+3+1+3+1)
	want := []string{"twice", "twice", "twice", "never", "never", "never", "ok", "panic", "panic", "panic", "fine"}
	if fmt.Sprint(got.order) != fmt.Sprint(want) {
		t.Errorf("order of a key:\n got %v\nwant %v", got.order, want)
	}
}

func TestRulesKeepTheOrderOfAKey(t *testing.T) { inEachMode(t, testRulesKeepTheOrderOfAKey) }

func testRulesKeepTheOrderOfAKey(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	wrong, busy := errors.New("wrong"), errors.New("busy")
	policy := quick
	policy.Rules = []retry.Rule{
		{Match: retry.Is(wrong), Attempts: 1},
		{Match: retry.Is(busy), Attempts: 5, Delays: []time.Duration{10 * time.Millisecond}},
	}
	a := agents.New("taker", agents.Config{Retry: policy, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		switch m.Payload.Reason {
		case "wrong":
			return wrong
		case "busy":
			return busy
		case "other":
			return errors.New("other")
		}
		return nil
	})
	start(t, p, a)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, what := range []string{"busy", "wrong", "other", "ok"} {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Reason: what}, agents.ID(what), agents.Key("one"))); err != nil {
			t.Fatal(err)
		}
	}
	got.await(t, 5+1+3+1)
	want := []string{"busy", "busy", "busy", "busy", "busy", "wrong", "other", "other", "other", "ok"}
	if fmt.Sprint(got.order) != fmt.Sprint(want) {
		t.Errorf("order of a key:\n got %v\nwant %v", got.order, want)
	}
}

func TestAWorkerThatIsToldToEndAsItStartsHasNotFailed(t *testing.T) {
	w, err := connect(t, streamtest.NewCluster(t)).Worker(agents.New("taker", agents.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestAgentStopEndsTheAgentAfterWhatCameBefore(t *testing.T) {
	inEachMode(t, testAgentStopEndsTheAgentAfterWhatCameBefore)
}

func testAgentStopEndsTheAgentAfterWhatCameBefore(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		return nil
	})
	w, err := p.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	select {
	case <-w.Ready():
	case err := <-ended:
		t.Fatalf("agent ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("agent is not ready")
	}
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for i := range 50 {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.Key(fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Stop(t.Context(), "taker", "test"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end")
	}
	if len(got.order) != 50 {
		t.Errorf("handled %d of 50 before the stop", len(got.order))
	}
}

func TestUnavailablePausesTheAgentWithoutAnAttempt(t *testing.T) {
	inEachMode(t, unavailablePausesTheAgentWithoutAnAttempt)
}

func unavailablePausesTheAgentWithoutAnAttempt(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	var up atomic.Bool
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(fmt.Sprintf("up=%v attempt=%d", up.Load(), m.Attempt))
		if !up.Load() {
			return agents.Unavailable(errors.New("the model is down"))
		}
		return nil
	})
	cfg, err := p.WorkerConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	state := &controlState{}
	cfg.ObserveAgent = state
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	startWorker(t, w)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	send := func(n int) {
		for i := range n {
			if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.Key(fmt.Sprint(i)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1)
	got.await(t, 2) // the first, and the probe after a pause
	eventually(t, "the breaker shows that it is open", state.breaker.Load)
	up.Store(true)
	send(30) // while it is open, none of them is a probe
	got.await(t, 2+31)
	eventually(t, "the breaker shows that it is closed", func() bool { return !state.breaker.Load() })
	got.mu.Lock()
	defer got.mu.Unlock()
	if got.count["up=false attempt=1"] != 2 || got.count["up=true attempt=1"] != 31 {
		t.Errorf("handled %v", got.count)
	}
}
