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
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// TestSimulation runs a cluster of workers from many seeds, half of them at
// least once and half exactly once.
func TestSimulation(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	t.Logf("first seed %d; go test ./streaming/streamtest -run Simulation -seeds %d -seed %d", first, *seeds, first)
	var mu sync.Mutex
	total := map[string]int{}
	var input, runs, violations int
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+uint64(*seeds); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				o := streamtest.Simulate(t, seed, world(seed, *traces))
				mu.Lock()
				defer mu.Unlock()
				for what, n := range o.Hits {
					total[what] += n
				}
				input, runs, violations = input+o.Input, runs+o.Runs, violations+len(o.Violations)
				if *seeds == 1 {
					t.Logf("fault schedule: %s\nhits: %v\n%s of virtual time", o.Plan, o.Hits, o.Virtual)
				}
			})
		}
	})
	t.Logf("%d seeds from %d: %d input records, %d runs of handlers, %d violations", *seeds, first, input, runs, violations)
	reportCoverage(t, total)
}

// enough is how often each crash point and fault has to happen in a thousand
// seeds.
const enough = 20

// reportCoverage prints how often each crash point and fault has happened. Many
// seeds have to hit each of them often.
func reportCoverage(t *testing.T, total map[string]int) {
	t.Helper()
	names := append(streamtest.Troubles(false), streamtest.Troubles(true)...)
	for what := range total {
		names = append(names, what)
	}
	slices.Sort(names)
	for _, what := range slices.Compact(names) {
		t.Logf("%7d %s", total[what], what)
	}
	if *seeds < 1000 {
		return
	}
	for _, what := range slices.Compact(names) {
		if total[what] < enough && !unplanned[what] {
			t.Errorf("%s has happened %d times in %d seeds; at least %d are needed", what, total[what], *seeds, enough)
		}
	}
}

// unplanned is what may happen, and need not.
var unplanned = map[string]bool{"gave up": true, "member thrown out": true, "jammed group of the fake broker": true}

// world is two agents, the second fed by the first: handlers that fail by a rule
// of the seed, and pass on one message for each.
func world(seed uint64, traces string) streamtest.Simulation {
	exactlyOnce := seed%2 == 1
	return streamtest.Simulation{
		TraceDir: traces, KeepTrace: *keep,
		Topics: []string{"parley.events.results"},
		Agents: []streamtest.Simulated{
			{Workers: 3, Config: config(seed, "first", exactlyOnce, func(m *agents.Message[schemas.ErrorReply]) error {
				return m.Send("second", &m.Payload, agents.Key(m.Key))
			})},
			{Workers: 2, Config: config(seed, "second", exactlyOnce, func(m *agents.Message[schemas.ErrorReply]) error {
				return m.Publish("results", &m.Payload, agents.Key(m.Key))
			})},
		},
		Message: func(r *rand.Rand, i int) streamtest.Message {
			return streamtest.Message{
				Key:     fmt.Sprintf("key-%d", r.IntN(12)),
				Payload: &schemas.ErrorReply{Reason: fmt.Sprint(i), Message: strings.Repeat("x", r.IntN(3000))},
			}
		},
	}
}

func config(seed uint64, name string, exactlyOnce bool, pass func(*agents.Message[schemas.ErrorReply]) error) func(*streamtest.Cluster) (worker.Config, error) {
	return func(c *streamtest.Cluster) (worker.Config, error) {
		p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
		if err != nil {
			return worker.Config{}, err
		}
		a := agents.New(name, agents.Config{
			ExactlyOnce: exactlyOnce, GroupProtocol: protocol(seed),
			Retry: retry.Policy{Tiers: []time.Duration{time.Second, 4 * time.Second}, Attempts: 3},
		})
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if err := trouble(ctx, seed, name, m); err != nil {
				return err
			}
			return pass(m)
		})
		return p.WorkerConfig(a)
	}
}

// protocol gives two seeds of seven the consumer group protocol.
func protocol(seed uint64) kafka.GroupProtocol {
	if r := seed % 7; r == 4 || r == 6 {
		return kafka.ProtocolConsumer
	}
	return kafka.ProtocolClassic
}

// trouble is how a message fares, by its ID: the same at each run.
func trouble(ctx context.Context, seed uint64, agent string, m *agents.Message[schemas.ErrorReply]) error {
	h := rand.New(rand.NewPCG(seed, hash(agent+m.Payload.Reason)))
	took := time.Duration(h.IntN(20)) * time.Millisecond
	if h.IntN(50) == 0 {
		took = time.Duration(h.IntN(1000)) * time.Millisecond
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return ctx.Err()
	}
	switch n := h.IntN(100); {
	case n < 6 && m.Attempt == 1, n < 9 && m.Attempt <= 2:
		return errors.New("not yet")
	case n < 11:
		return errors.New("never")
	case n < 13 && m.Attempt == 1:
		panic("once")
	case n < 14:
		panic("always")
	case n < 15:
		return agents.Permanent(errors.New("refused"))
	case n < 16 && m.Attempt == 1:
		return agents.RetryAfter(time.Duration(h.IntN(6000))*time.Millisecond, errors.New("in a while"))
	}
	return nil
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func TestACalmClusterRunsEachHandlerOnce(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		s := world(seed, *traces)
		s.Calm = true
		if o := streamtest.Simulate(t, seed, s); o.Plan != "no faults" || o.Input != 200 {
			t.Errorf("%d records under %s", o.Input, o.Plan)
		}
	}
}

// TestSeedsThatFoundDefects runs the schedules under which the engine once broke.
func TestSeedsThatFoundDefects(t *testing.T) {
	for seed, defect := range map[uint64]string{
		12:    "a draining lane span while a retry was due",
		159:   "a worker under exactly once never ended where no broker answered",
		135:   "a producer that the broker had fenced was never replaced",
		20741: "lanes that were lost while they drained were committed after the member had joined again",
		30194: "a partition was given up while a stop was still draining it",
		30927: "a claim for a partition that was taken away made its owner's marks void",
		50099: "a member that was thrown out committed under its new ID for what it had lost",
	} {
		t.Run(defect, func(t *testing.T) { streamtest.Simulate(t, seed, world(seed, *traces)) })
	}
}
