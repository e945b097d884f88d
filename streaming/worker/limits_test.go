package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

func TestLimitsHoldOverAllPartitionsAndKeepOrder(t *testing.T) {
	inEachMode(t, testLimitsHoldOverAllPartitionsAndKeepOrder)
}

func testLimitsHoldOverAllPartitionsAndKeepOrder(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	var running, most atomic.Int64
	a := agents.New("taker", agents.Config{
		Retry: quick, ExactlyOnce: exactlyOnce, Limits: streaming.Limits{Handlers: 2, RequestsPerMinute: 12_000, TokensPerMinute: 1_200_000},
	})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(time.Millisecond)
		m.Spend(100)
		if got.add(m.Key+" "+m.ID()) == 1 && strings.HasSuffix(m.ID(), "7") {
			return errors.New("once")
		}
		return nil
	})
	begin := time.Now()
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
	const n = 100
	for i := range n {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(fmt.Sprintf("%03d", i)), agents.Key(fmt.Sprint(i%20)))); err != nil {
			t.Fatal(err)
		}
	}
	got.await(t, n+n/10)
	if took := time.Since(begin); took < (n+n/10-1)*5*time.Millisecond {
		t.Errorf("%d handlers were started in %s: more than 200 a second", n+n/10, took)
	}
	eventually(t, "the time waited is told", func() bool { return state.limited.Load() > 0 })
	if most.Load() > 2 {
		t.Errorf("%d handlers at once", most.Load())
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	last := map[string]string{}
	for _, entry := range got.order {
		key, id, _ := strings.Cut(entry, " ")
		if id < last[key] {
			t.Errorf("key %s: %s after %s", key, id, last[key])
		}
		last[key] = id
	}
}

func TestAConfigurationNamesAllThatIsWrong(t *testing.T) {
	err := worker.Config{
		Agent: "A", Parallel: -1, MaxPending: -1, HandlerTimeout: -1, DrainTimeout: -time.Second,
		Limits: streaming.Limits{Handlers: -1, RequestsPerMinute: -1}, Retry: retry.Policy{Attempts: -1},
	}.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		"agent: the name", "no broker", "no codec", "Parallel is negative", "MaxPending is negative", "HandlerTimeout is negative",
		"DrainTimeout is negative", "limit of handlers is -1", "limit of requests per minute is -1", "attempts are -1",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named:\n%v", want, err)
		}
	}
}
