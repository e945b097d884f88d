//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// picky is an agent that takes what a filter lets through, in its inbox and on a
// stream of the same messages.
func picky(name, where string, exactlyOnce bool, handle func(*agents.Message[schemas.ErrorReply]) error) streamtest.Simulated {
	return streamtest.Simulated{Config: func(c *streamtest.Cluster) (worker.Config, error) {
		p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
		if err != nil {
			return worker.Config{}, err
		}
		a := agents.New(name, agents.Config{
			Streams: []string{"talk"}, ExactlyOnce: exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Second, 3 * time.Second}, Attempts: 3},
		})
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if m.Payload.Reason != name {
				return streamtest.Violation(ctx, "filter: %s is given %s of %s", name, m.ID(), m.Payload.Reason)
			}
			if m.Attempt == 1 && len(m.Payload.Message) == 1 {
				return errors.New("not yet")
			}
			return handle(m)
		}, agents.Where(where))
		return p.WorkerConfig(a)
	}}
}

// TestWhereUnderFaults: of two groups on a stream each is given what its filter
// lets through, and the rest is skipped: the accounts, which ask the filter anew of
// each record, are exact. What cannot be evaluated is dead.
func TestWhereUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run WhereUnderFaults -seeds %d -seed %d", first, n, first)
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			once := seed%2 == 1
			o := streamtest.Simulate(t, seed, streamtest.Simulation{
				Agents: []streamtest.Simulated{
					picky("even", "1 / (payload.message.size() - 3) < 2 && payload.reason == 'even'", once, func(m *agents.Message[schemas.ErrorReply]) error {
						return m.Publish("talk", &schemas.ErrorReply{Reason: []string{"none", "odd", "even"}[len(m.Payload.Message)%3], Message: "event!"}, agents.Key(m.Key))
					}),
					picky("odd", "payload.reason != 'none' && payload.reason == 'odd' && kind == 'event'", once, func(m *agents.Message[schemas.ErrorReply]) error {
						return m.Publish("results", &m.Payload, agents.Key(m.Key))
					}),
				},
				Topics: []string{"parley.events.results"}, TraceDir: *traces, KeepTrace: *keep,
				Message: func(r *rand.Rand, i int) streamtest.Message {
					m := streamtest.Message{Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.ErrorReply{Reason: []string{"even", "odd", "none"}[r.IntN(3)], Message: fmt.Sprint(i)}}
					if r.IntN(2) == 0 {
						m.Topic = "parley.events.talk"
					}
					return m
				},
			})
			if o.Dead["permanent"] == 0 {
				t.Errorf("seed %d: no filter could not be evaluated", seed)
			}
		})
	}
}
