package worker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// pausing is an agent that can be paused, and a sender to it.
type pausing struct {
	t      *testing.T
	c      *streamtest.Cluster
	p      *agents.Platform
	sender *agents.Sender
	cfg    agents.Config
	got    *seen
}

func newPausing(t *testing.T, exactlyOnce bool) *pausing {
	t.Helper()
	c := streamtest.NewCluster(t)
	s := &pausing{t: t, c: c, p: connect(t, c), got: newSeen(), cfg: agents.Config{Retry: quick, ExactlyOnce: exactlyOnce}}
	var err error
	if s.sender, err = s.p.Sender("giver"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sender.Close)
	return s
}

func (s *pausing) config() worker.Config {
	s.t.Helper()
	a := agents.New("taker", s.cfg)
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		s.got.add(m.ID())
		return nil
	})
	cfg, err := s.p.WorkerConfig(a)
	if err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

// start runs an instance and returns its state as its metrics tell it.
func (s *pausing) start() (state *controlState, stop func()) {
	s.t.Helper()
	state = &controlState{}
	cfg := s.config()
	cfg.ObserveAgent = state
	w, err := worker.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return state, startWorker(s.t, w)
}

func (s *pausing) send(from, n int) {
	s.t.Helper()
	for i := from; i < from+n; i++ {
		id := fmt.Sprintf("%03d", i)
		if err := s.sender.Send(s.t.Context(), s.sender.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key(fmt.Sprint(i%10)))); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *pausing) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// handled holds the effects against what was sent: each once.
func (s *pausing) handled(n int) {
	s.t.Helper()
	s.got.await(s.t, n)
	s.got.mu.Lock()
	defer s.got.mu.Unlock()
	if len(s.got.count) != n || len(s.got.order) != n {
		s.t.Errorf("%d messages handled in %d runs, want %d once each", len(s.got.count), len(s.got.order), n)
	}
}

// controlState is what an instance says of itself.
type controlState struct {
	pipeline.Unobserved
	told, paused, breaker atomic.Bool
	skipped, limited      atomic.Int64
}

func (c *controlState) Paused(paused bool)                         { c.paused.Store(paused); c.told.Store(true) }
func (c *controlState) BreakerOpen(open bool)                      { c.breaker.Store(open) }
func (c *controlState) Limited(_ streaming.Limit, d time.Duration) { c.limited.Add(int64(d)) }
func (c *controlState) ControlSkipped()                            { c.skipped.Add(1) }

func (s *pausing) await(what string, want bool, states ...*controlState) {
	s.t.Helper()
	begin := time.Now()
	eventually(s.t, what, func() bool {
		for _, c := range states {
			if !c.told.Load() || c.paused.Load() != want {
				return false
			}
		}
		return true
	})
	if took := time.Since(begin); took > 5*time.Second { // milliseconds, on a machine that has them
		s.t.Errorf("%s only after %s", what, took)
	}
}

func TestAPauseReachesEachInstanceAndOutlivesThem(t *testing.T) {
	inEachMode(t, testAPauseReachesEachInstanceAndOutlivesThem)
}

func testAPauseReachesEachInstanceAndOutlivesThem(t *testing.T, exactlyOnce bool) {
	s := newPausing(t, exactlyOnce)
	one, stopOne := s.start()
	two, stopTwo := s.start()
	s.send(0, 50)
	s.handled(50)

	s.must(s.sender.Pause(t.Context(), "taker", "me", "a test"))
	s.await("both are paused", true, one, two)
	s.send(50, 50)
	stopOne()
	stopTwo()
	three, stopThree := s.start() // asks no other instance
	s.await("a new one is paused", true, three)
	s.send(100, 20)
	time.Sleep(500 * time.Millisecond) // nothing happens: there is no condition to wait for
	s.handled(50)

	s.must(s.sender.Resume(t.Context(), "taker", "me", ""))
	s.await("it is resumed", false, three)
	s.handled(120)
	stopThree()
	last := map[string]string{}
	for _, id := range s.got.order {
		if key := id[2:]; id < last[key] {
			t.Errorf("key %s: %s after %s", key, id, last[key])
		} else {
			last[key] = id
		}
	}
}

func TestWhatRunsWhenAnAgentIsPausedEnds(t *testing.T) {
	inEachMode(t, testWhatRunsWhenAnAgentIsPausedEnds)
}

func testWhatRunsWhenAnAgentIsPausedEnds(t *testing.T, exactlyOnce bool) {
	s := newPausing(t, exactlyOnce)
	running, release := make(chan struct{}), make(chan struct{})
	a := agents.New("taker", s.cfg)
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if s.got.add(m.ID()) == 1 && m.ID() == "000" {
			close(running)
			<-release
		}
		return m.Publish("done", &schemas.ErrorReply{})
	})
	watcher := agents.New("watcher", agents.Config{Streams: []string{"done"}})
	done := newSeen()
	agents.On(watcher, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		done.add(m.ID())
		return nil
	})
	start(t, s.p, watcher)
	cfg, err := s.p.WorkerConfig(a)
	s.must(err)
	state := &controlState{}
	cfg.ObserveAgent = state
	w, err := worker.New(cfg)
	s.must(err)
	startWorker(t, w)
	s.send(0, 1)
	<-running
	s.must(s.sender.Pause(t.Context(), "taker", "me", ""))
	s.await("paused", true, state)
	s.send(10, 1) // of the same key
	close(release)
	done.await(t, 1) // its output is there: it is settled
	time.Sleep(300 * time.Millisecond)
	s.handled(1)
	s.must(s.sender.Resume(t.Context(), "taker", "me", ""))
	done.await(t, 2)
	s.handled(2)
}

func TestAControlRecordThatCannotBeReadIsSkipped(t *testing.T) {
	s := newPausing(t, false)
	state, _ := s.start()
	s.await("it runs", false, state)
	cl := s.c.Client(t)
	write := func(key string, value []byte) {
		t.Helper()
		rec := &kgo.Record{Topic: "parley.agents", Key: []byte(key), Value: value}
		s.must(cl.ProduceSync(t.Context(), rec).FirstErr())
	}
	value := func(m schemas.Message) []byte {
		t.Helper()
		v, err := s.p.Codec().Encode(t.Context(), m)
		s.must(err)
		return v
	}
	s.must(s.sender.Pause(t.Context(), "taker", "me", ""))
	s.await("it is paused", true, state)
	for _, bad := range [][]byte{{}, []byte("not Avro"), value(&schemas.AgentStop{}), value(&schemas.AgentControl{Group: "taker"})[:6]} {
		write("control/taker", bad)
	}
	write("control/other", value(&schemas.AgentControl{Group: "taker"})) // the key says whose it is
	write("taker", value(&schemas.AgentControl{Group: "taker"}))         // no control record
	eventually(t, "all are skipped", func() bool { return state.skipped.Load() == 4 })
	s.send(0, 5)
	time.Sleep(300 * time.Millisecond)
	if !state.paused.Load() || len(s.got.order) > 0 {
		t.Error("a record that cannot be read has ended a pause")
	}
	fresh, _ := s.start() // reads them all again
	s.await("a new instance is paused", true, fresh)
	write("control/taker", nil) // as compaction leaves a key that was deleted
	s.await("nothing is asked for any more", false, state, fresh)
	s.handled(5)
}
