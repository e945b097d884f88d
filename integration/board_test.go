//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// notes is a board for tests; its values are text.
var notes = board.New[schemas.AgentControl]("notes")

func boardPlatform(t *testing.T, namespace string) (*agents.Platform, []string) {
	t.Helper()
	broker, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: []string{broker.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 3, Namespace: streaming.Namespace(namespace),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, []string{broker.Bootstrap()}
}

// TestBoardOnKafka: a thousand who compare and set one key at once, whose successes
// add up; then retry loops until all are in, while the keeper is replaced.
func TestBoardOnKafka(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactlyOnce), func(t *testing.T) {
			p, _ := boardPlatform(t, fmt.Sprintf("board-%t", exactlyOnce))
			keep := func() (stop func()) {
				w, err := p.Worker(notes.Keeper(agents.Config{
					ExactlyOnce: exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 5},
				}))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- w.Run(ctx) }()
				select {
				case <-w.Ready():
				case <-time.After(time.Minute):
					t.Fatal("the keeper is not ready")
				}
				return sync.OnceFunc(func() {
					cancel()
					if err := <-ended; err != nil {
						t.Error(err)
					}
				})
			}
			stop := keep()
			defer func() { stop() }()
			r, err := p.Requester(t.Context(), "asker")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			view, err := notes.Open(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			defer view.Close()

			const proposers = 1000
			updates := proposers
			if !exactlyOnce {
				updates = 100 // each waits for the one before to be marked
			}
			next := func(v schemas.AgentControl, _ bool) (schemas.AgentControl, error) {
				n := 0
				_, _ = fmt.Sscan(v.Reason, &n)
				v.Reason = fmt.Sprint(n + 1)
				return v, nil
			}
			var mu sync.Mutex
			successes, conflicts := 0, 0
			var wg sync.WaitGroup
			begin := time.Now()
			for range proposers {
				wg.Go(func() {
					time.Sleep(rand.N(time.Second)) // spreads them: the view moves on meanwhile
					value, version, _ := view.Get("counter")
					value, _ = next(value, true)
					_, err := notes.CompareAndSet(t.Context(), r, "counter", value, version)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						successes++
					case errors.Is(err, board.ErrConflict):
						conflicts++
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			t.Logf("%d compare-and-sets of a key at once: %d successes, %d conflicts, %s", proposers, successes, conflicts, time.Since(begin).Round(time.Millisecond))
			if successes == 0 || successes+conflicts != proposers {
				t.Errorf("%d successes and %d conflicts of %d", successes, conflicts, proposers)
			}
			counted := func(want int) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := view.Wait(ctx, "counter", int64(want)); err != nil {
					t.Fatal(err)
				}
				if value, version, ok := view.Get("counter"); !ok || version != int64(want) || value.Reason != fmt.Sprint(want) {
					t.Errorf("the board has %q at %d, want %d", value.Reason, version, want)
				}
			}
			counted(successes)

			begin = time.Now()
			for range updates {
				wg.Go(func() {
					if _, err := notes.Update(t.Context(), r, view, "counter", next); err != nil {
						t.Error(err)
					}
				})
			}
			stop() // in the middle of it
			stop = keep()
			wg.Wait()
			t.Logf("%d updates of a key at once, a restart of the keeper among them: %s", updates, time.Since(begin).Round(time.Millisecond))
			counted(successes + updates)
			if fresh, err := notes.Open(t.Context(), p); err != nil {
				t.Error(err)
			} else {
				if value, version, _ := fresh.Get("counter"); version != int64(successes+updates) || value.Reason != fmt.Sprint(version) {
					t.Errorf("a new view has %q at %d", value.Reason, version)
				}
				fresh.Close()
			}
		})
	}
}

// TestBoardRebuildOnKafka: a new view of a board of 100,000 keys.
func TestBoardRebuildOnKafka(t *testing.T) {
	const keys = 100_000
	p, brokers := boardPlatform(t, "board-large")
	view, err := notes.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	view.Close()
	log, err := kafka.NewLog(kafka.Config{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var recs []*streaming.Record
	for i := range keys {
		value, err := p.Codec().Encode(t.Context(), schemas.AgentControl{Group: fmt.Sprint("group-", i), Reason: "as it is"})
		if err != nil {
			t.Fatal(err)
		}
		env := streaming.Envelope{
			ID: schemas.NewID(), Source: notes.Agent(), Type: "agent.control", Kind: streaming.KindStateDiff, Sequence: 1, Time: time.Now(),
			CorrelationID: schemas.NewID(), CausationID: schemas.NewID(), Hops: 31,
		}
		recs = append(recs, &streaming.Record{Topic: "board-large.state.notes", Partition: -1, Key: fmt.Appendf(nil, "key-%d", i), Value: value, Headers: schemas.AppendEnvelope(nil, &env)})
		if len(recs) == 5000 {
			if _, err := log.AppendSync(t.Context(), recs...); err != nil {
				t.Fatal(err)
			}
			recs = recs[:0]
		}
	}
	used := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for range 3 {
		before := used()
		begin := time.Now()
		view, err := notes.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		view.Close()
		t.Logf("%d keys in %s, %d bytes of memory each", view.Len(), took.Round(time.Millisecond), (used()-before)/keys)
		if view.Len() != keys {
			t.Errorf("%d keys, want %d", view.Len(), keys)
		}
	}
}
