package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

func TestAScheduledMessageTakesItsPlaceWhenItIsDue(t *testing.T) {
	inEachMode(t, testAScheduledMessageTakesItsPlaceWhenItIsDue)
}

// late waits beyond the largest tier, soon in none.
func testAScheduledMessageTakesItsPlaceWhenItIsDue(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	var late atomic.Int64 // when it was handled
	make := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if m.ID() == "late" {
				late.Store(time.Now().UnixNano())
			}
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
	send := func(id string, opts ...agents.Option) {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Message: id}, append(opts, agents.ID(id), agents.Key("k"))...)); err != nil {
			t.Fatal(err)
		}
	}
	due := time.Now().Add(3 * time.Second).Truncate(time.Millisecond) // time for a restart
	send("late", agents.DeliverAt(due))
	send("soon", agents.DeliverAt(time.Now().Add(500*time.Millisecond)))
	send("now")
	got.await(t, 2)
	stop()
	start(t, p, make()) // it is recognised in its tier
	send("after")
	got.await(t, 4)
	if want := []string{"now", "soon", "after", "late"}; !slices.Equal(got.order, want) {
		t.Errorf("handled %v, want %v", got.order, want)
	}
	if at := time.Unix(0, late.Load()); at.Before(due) {
		t.Errorf("handled %s early", due.Sub(at))
	}
}

func TestOrderOffHoldsUpNothing(t *testing.T) { inEachMode(t, testOrderOffHoldsUpNothing) }

func testOrderOffHoldsUpNothing(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce, Unordered: true})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if got.add(m.ID()) == 1 && m.ID() == "x" {
			return errors.New("not yet")
		}
		return nil
	})
	start(t, p, a)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, id := range []string{"x", "x", "y", "z"} { // x is sent twice
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Message: id}, agents.ID(id), agents.Key("k"))); err != nil {
			t.Fatal(err)
		}
	}
	got.await(t, 4)
	if got.order[3] != "x" || got.count["x"] != 2 {
		t.Errorf("handled %v: y and z should not wait for x, which is tried twice", got.order)
	}
}

// With as many waiting as the index holds the input pauses and says so; when there
// is room it goes on, and nothing is lost by it.
func TestAFullIndexPausesTheInput(t *testing.T) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	var failing atomic.Bool
	var tried sync.Map
	failing.Store(true)
	a := agents.New("taker", agents.Config{Retry: quick})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		tried.Store(m.ID(), true)
		if failing.Load() {
			return agents.RetryAfter(100*time.Millisecond, errors.New("not yet"))
		}
		got.add(m.ID())
		return nil
	})
	cfg, err := p.WorkerConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	var said said
	cfg.Partitions, cfg.MaxWaiting, cfg.Retry.Attempts, cfg.Logger = 1, 4, 1000, slog.New(&said)
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
	send := func(from, to int) {
		for i := from; i < to; i++ {
			id := fmt.Sprint(i)
			if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Message: id}, agents.ID(id), agents.Key(id))); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(0, 5)
	eventually(t, "the input pauses", func() bool { return said.has("the input pauses") })
	send(5, 6) // what is offered to a full lane is kept, and pauses the input
	eventually(t, "it is tried", func() bool { _, ok := tried.Load("5"); return ok })
	send(6, 20)
	time.Sleep(300 * time.Millisecond) // what is paused shows only by nothing happening
	if _, ok := tried.Load("19"); ok {
		t.Error("the input does not pause")
	}
	failing.Store(false)
	got.await(t, 20)
	eventually(t, "the input goes on", func() bool { return said.has("the input goes on") })
}

// said keeps the messages that were logged.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) has(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, line) })
}

func (s *said) Enabled(context.Context, slog.Level) bool { return true }

func (s *said) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, r.Message)
	return nil
}

func (s *said) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *said) WithGroup(string) slog.Handler { return s }
