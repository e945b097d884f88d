//go:build integration

package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// pauseState is what an instance says of itself.
type pauseState struct {
	pipeline.Unobserved
	paused atomic.Bool
}

func (p *pauseState) Paused(paused bool) { p.paused.Store(paused) }

// TestPauseOnKafka pauses an agent with two instances, replaces one of them, and
// resumes: each obeys soon, nothing is handled meanwhile, and everything after.
func TestPauseOnKafka(t *testing.T) {
	kafka, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: []string{kafka.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 6, Namespace: streaming.Namespace(cluster.Name(t)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var handled sync.Map
	var runs atomic.Int64
	start := func() (*pauseState, func()) {
		a := agents.New("taker", agents.Config{SessionTimeout: 6 * time.Second})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			runs.Add(1)
			handled.Store(m.ID(), true)
			return nil
		})
		cfg, err := p.WorkerConfig(a)
		if err != nil {
			t.Fatal(err)
		}
		state := &pauseState{}
		cfg.ObserveAgent = state
		w, err := worker.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		<-w.Ready()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return state, stop
	}
	one, stopOne := start()
	two, _ := start()
	sender, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	sent := 0
	send := func(n int) {
		for range n {
			id := fmt.Sprintf("m-%d", sent)
			sent++
			if err := sender.Send(t.Context(), sender.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key(id))); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		begin := time.Now()
		eventually(t, func() error {
			if ok() {
				return nil
			}
			return fmt.Errorf("not yet: %s", what)
		})
		t.Logf("%s after %s", what, time.Since(begin).Round(time.Millisecond))
	}
	send(100)
	wait("all are handled", func() bool { return runs.Load() == 100 })
	if err := sender.Pause(t.Context(), "taker", "test", "a test"); err != nil {
		t.Fatal(err)
	}
	wait("both instances are paused", func() bool { return one.paused.Load() && two.paused.Load() })
	send(50)
	stopOne()
	three, _ := start()
	wait("a new instance is paused", three.paused.Load)
	send(50)
	time.Sleep(2 * time.Second) // nothing happens: there is no condition to wait for
	if n := runs.Load(); n != 100 {
		t.Errorf("%d messages were handled while the agent was paused", n-100)
	}
	if err := sender.Resume(t.Context(), "taker", "test", ""); err != nil {
		t.Fatal(err)
	}
	wait("both instances are resumed", func() bool { return !two.paused.Load() && !three.paused.Load() })
	wait("all are handled", func() bool {
		n := 0
		handled.Range(func(any, any) bool { n++; return true })
		return n == sent
	})
	if n := runs.Load(); n != int64(sent) {
		t.Errorf("%d messages were handled in %d runs", sent, n)
	}
}
