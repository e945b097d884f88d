//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// tally counts each key's messages in a state, and sees to it that each message
// is counted once: all runs of a message find the same count, no two messages of
// a key do, and none is left out.
type tally struct {
	exactlyOnce bool

	mu    sync.Mutex
	wrong []wrong
	twins map[string]bool           // messages that ran under another key, too: either run ends both
	found map[string]int            // message, with its key: the count that its runs found
	taken map[string]map[int]string // key: the message that found a count
}

type wrong struct {
	what     string
	messages []string
}

func newTally(exactlyOnce bool) *tally {
	return &tally{exactlyOnce: exactlyOnce, twins: make(map[string]bool), found: make(map[string]int), taken: make(map[string]map[int]string)}
}

func (y *tally) config(c *streamtest.Cluster) (worker.Config, error) {
	p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
	if err != nil {
		return worker.Config{}, err
	}
	a := agents.New("tally", agents.Config{
		ExactlyOnce: y.exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Second, 5 * time.Second}, Attempts: 4},
	})
	counts := agents.Keep[schemas.ErrorReply](a, "count")
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		state, _, err := counts.Get(ctx, m)
		if err != nil {
			return err
		}
		n := 0
		if _, err := fmt.Sscan(state.Message, &n); state.Message != "" && err != nil {
			return err
		}
		y.check(m.Key, m.ID(), n)
		if err := counts.Set(ctx, m, schemas.ErrorReply{Message: fmt.Sprint(n + 1)}); err != nil {
			return err
		}
		if m.Payload.Reason == "again" && m.Attempt == 1 {
			return errors.New("the first attempt fails")
		}
		return m.Publish("counts", &schemas.ErrorReply{Message: fmt.Sprint(n + 1)}, agents.Key(m.Key))
	})
	return p.WorkerConfig(a)
}

func (y *tally) check(key, message string, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if strings.HasPrefix(key, "other-") {
		y.twins[message] = true
		return
	}
	if known, ok := y.found[message]; ok && known != n {
		y.wrong = append(y.wrong, wrong{fmt.Sprintf("message %s finds %d, and found %d before", message, n, known), []string{message}})
	}
	if y.taken[key] == nil {
		y.taken[key] = make(map[int]string)
	}
	if other, ok := y.taken[key][n]; ok && other != message {
		y.wrong = append(y.wrong, wrong{fmt.Sprintf("messages %s and %s both find %d", other, message, n), []string{other, message}})
	}
	if _, ok := y.taken[key][n-1]; !ok && n > 0 {
		y.wrong = append(y.wrong, wrong{fmt.Sprintf("message %s finds %d, and none has found %d", message, n, n-1), []string{message}})
	}
	y.found[message], y.taken[key][n] = n, message
}

// TestStateUnderFaults: at least once under everything but what lets a frozen
// worker and its successor work side by side. Without redrive, which lets a
// message be tried after later ones.
func TestStateUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run StateUnderFaults -seeds %d -seed %d", first, n, first)
	var checked atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d of %d seeds counted", checked.Load(), n)
		if checked.Load() < int64(n)/2 {
			t.Error("too few")
		}
	})
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			y := newTally(seed%2 == 1)
			faults := slices.DeleteFunc(streamtest.Faults(), func(f streamtest.Fault) bool { return f == streamtest.FaultRedrive })
			if !y.exactlyOnce {
				faults = []streamtest.Fault{
					streamtest.FaultError, streamtest.FaultTimeout, streamtest.FaultCut, streamtest.FaultSlow, streamtest.FaultLeaders,
					streamtest.FaultCoords, streamtest.FaultJoin, streamtest.FaultLeave, streamtest.FaultDuplicate, streamtest.FaultMalformed,
				}
			}
			o := streamtest.Simulate(t, seed, streamtest.Simulation{
				Agents: []streamtest.Simulated{{Config: y.config}}, Topics: []string{"parley.events.counts"}, Faults: faults, TraceDir: *traces, KeepTrace: *keep,
				Message: func(r *rand.Rand, i int) streamtest.Message {
					m := schemas.ErrorReply{Message: fmt.Sprint(i)}
					if r.IntN(10) == 0 {
						m.Reason = "again"
					}
					return streamtest.Message{Key: fmt.Sprint(r.IntN(8)), Payload: &m}
				},
			})
			switch {
			case !y.exactlyOnce && o.Hits[weakened] > 0:
				return // two owners may have been at work side by side
			case o.Dead["crash"] > 0:
				return // a message that was begun, and counted here, is dead
			}
			checked.Add(1)
			for _, w := range y.wrong {
				if !slices.ContainsFunc(w.messages, func(id string) bool { return y.twins[id] }) {
					t.Errorf("seed %d: state: %s\n%s", seed, w.what, o.Plan)
				}
			}
		})
	}
}
