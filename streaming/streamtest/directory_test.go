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
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// orders are an agent that gives each message to one of those that are capable, and
// two that are.
func orders(exactlyOnce bool) []streamtest.Simulated {
	agent := func(name string, set func(*agents.Agent)) streamtest.Simulated {
		return streamtest.Simulated{Config: func(c *streamtest.Cluster) (worker.Config, error) {
			p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
			if err != nil {
				return worker.Config{}, err
			}
			a := agents.New(name, agents.Config{
				ExactlyOnce: exactlyOnce, Lease: 3 * time.Second, Retry: retry.Policy{Tiers: []time.Duration{time.Second, 4 * time.Second}, Attempts: 4},
			})
			set(a)
			return p.WorkerConfig(a)
		}}
	}
	taker := func(name string) streamtest.Simulated {
		return agent(name, func(a *agents.Agent) {
			agents.On(a, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
				return m.Publish("results", &schemas.Ack{Messageid: m.Payload.Messageid}, agents.Key(m.Key))
			})
		})
	}
	return []streamtest.Simulated{
		agent("first", func(a *agents.Agent) {
			agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
				if err := m.SendTo(agents.Capable("agent.ack"), &schemas.Ack{Messageid: m.ID()}, agents.Key(m.Key)); err != nil {
					return err
				}
				if m.Attempt == 1 && len(m.Payload.Message)%2 == 0 {
					return errors.New("not yet")
				}
				return nil
			})
		}),
		taker("left"), taker("right"),
	}
}

// chosen says what is wrong with where the messages have gone and with what the
// directory says in the end.
type chosen struct {
	twice []string // messages that have gone to two agents
	wrong []string
	both  bool // agents have been chosen
}

func (c *chosen) check(topics map[string][]streaming.Record) []string {
	in := make(map[string]string) // by message ID: the inbox
	for _, topic := range []string{"parley.inbox.left", "parley.inbox.right"} {
		for i := range topics[topic] {
			env, err := schemas.DecodeEnvelope(&topics[topic][i])
			if err != nil {
				continue
			}
			if other, ok := in[env.ID]; ok && other != topic {
				c.twice = append(c.twice, fmt.Sprintf("directory: %s has gone to two agents", env.ID))
			}
			in[env.ID] = topic
		}
	}
	c.both = len(topics["parley.inbox.left"]) > 0 && len(topics["parley.inbox.right"]) > 0
	last := make(map[string][]byte)
	instances := 0
	for _, rec := range topics["parley.agents"] {
		if schemas.IsInstanceKey(rec.Key) {
			last[string(rec.Key)] = rec.Value
			instances++
		}
	}
	for key, value := range last {
		if value != nil {
			c.wrong = append(c.wrong, fmt.Sprintf("directory: %s is there after its end", key))
		}
	}
	if len(last) < 6 || instances < 30 {
		c.wrong = append(c.wrong, fmt.Sprintf("directory: %d instances have said %d times that they are there", len(last), instances))
	}
	return c.wrong
}

// TestDirectoryUnderFaults: however agents crash and come back, each message goes to
// one of those that are capable, and when all have ended the directory is empty.
func TestDirectoryUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run DirectoryUnderFaults -seeds %d -seed %d", first, n, first)
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			once := seed%2 == 1
			var c chosen
			o := streamtest.Simulate(t, seed, streamtest.Simulation{
				Agents: orders(once), Topics: []string{"parley.events.results"}, Check: c.check, TraceDir: *traces, KeepTrace: *keep, Messages: 100,
				Message: func(r *rand.Rand, i int) streamtest.Message {
					return streamtest.Message{Key: fmt.Sprint(r.IntN(16)), Payload: &schemas.ErrorReply{Message: fmt.Sprint(i)}}
				},
			})
			if once || o.Hits[weakened] == 0 { // else two owners may have been at work side by side
				for _, twice := range c.twice {
					t.Errorf("seed %d: %s\n%s", seed, twice, o.Plan)
				}
			}
			if !c.both {
				t.Errorf("seed %d: one agent only was chosen", seed)
			}
		})
	}
}
