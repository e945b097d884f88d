package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// bytesInFlight is an observer that adds up the memory of all lanes.
type bytesInFlight struct {
	pipeline.Unobserved
	now, most *atomic.Int64
}

func (b bytesInFlight) InFlightBytes(delta int) {
	n := b.now.Add(int64(delta))
	for old := b.most.Load(); n > old && !b.most.CompareAndSwap(old, n); old = b.most.Load() {
	}
}

// incompressible is text that no codec makes much smaller: a fetch is bounded by
// what goes over the wire.
func incompressible(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' ' + byte(rand.IntN(95))
	}
	return string(b)
}

func TestAFloodOfLargeRecordsStaysInItsBounds(t *testing.T) {
	inEachMode(t, testAFloodOfLargeRecordsStaysInItsBounds)
}

func testAFloodOfLargeRecordsStaysInItsBounds(t *testing.T, exactlyOnce bool) {
	const (
		maxBytes = 3 << 20 // of each of three partitions half a MiB for the input
		n        = 240
		size     = 100 << 10
		large    = 900 << 10 // more than a partition's part
		fetch    = 256 << 10 // a partition's part of one answer of the broker
	)
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	got := newSeen()
	blocked := make(chan struct{})
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce, MaxBytes: maxBytes, Parallel: 2})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		<-blocked
		if got.add(m.ID()) == 1 && strings.HasSuffix(m.ID(), "7") {
			return errors.New("once")
		}
		return nil
	})
	cfg, err := p.WorkerConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	bytes := bytesInFlight{now: new(atomic.Int64), most: new(atomic.Int64)}
	cfg.Observe = func(string) pipeline.Observer { return bytes }
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := startWorker(t, w)
	for i := range n {
		payload := incompressible(size)
		if i%20 == 10 {
			payload = incompressible(large)
		}
		id := fmt.Sprintf("%03d", i)
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{Message: payload}, agents.ID(id), agents.Key(fmt.Sprint(i%30)))); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing is handled: what can come in has come in when it grows no more.
	for last := int64(-1); last != bytes.now.Load(); time.Sleep(700 * time.Millisecond) {
		last = bytes.now.Load()
	}
	full := bytes.most.Load()
	close(blocked)
	got.await(t, n+n/10)
	eventually(t, "nothing is left in memory", func() bool { return bytes.now.Load() == 0 })
	stop()
	if bound := int64(maxBytes/2 + 3*(fetch+large)); full > bound {
		t.Errorf("%d bytes in memory with nothing handled, more than %d", full, bound)
	}
	// The other half is for what waits to be tried again.
	if bound := int64(maxBytes + 3*(fetch+large)); bytes.most.Load() > bound {
		t.Errorf("%d bytes in memory at most, more than %d", bytes.most.Load(), bound)
	}
	t.Logf("of %d MiB at most %d KiB were in memory, %d KiB with nothing handled", n*size>>20, bytes.most.Load()>>10, full>>10)
	got.mu.Lock()
	defer got.mu.Unlock()
	if len(got.count) != n {
		t.Errorf("%d of %d messages are handled", len(got.count), n)
	}
}
