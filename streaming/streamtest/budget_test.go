//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// spenders are three agents in a chain that charge what a message's text says, and
// then wish more for what they send on than they have.
func spenders(exactlyOnce bool) []streamtest.Simulated {
	agent := func(name string, pass func(*agents.Message[schemas.ErrorReply], ...agents.Option) error) streamtest.Simulated {
		return streamtest.Simulated{Config: func(c *streamtest.Cluster) (worker.Config, error) {
			p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
			if err != nil {
				return worker.Config{}, err
			}
			a := agents.New(name, agents.Config{ExactlyOnce: exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Second}, Attempts: 4}})
			agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
				if err := pass(m, agents.Key(m.Key), agents.Budget("tokens", 1000)); err != nil {
					return err
				}
				if err := m.Charge(charge(&m.Payload)); err != nil {
					return err
				}
				if m.Attempt == 1 && len(m.Payload.Message)%5 == 0 {
					return errors.New("not yet") // what this run has charged, none has
				}
				return nil
			})
			return p.WorkerConfig(a)
		}}
	}
	to := func(next string) func(*agents.Message[schemas.ErrorReply], ...agents.Option) error {
		return func(m *agents.Message[schemas.ErrorReply], opts ...agents.Option) error {
			return m.Send(next, &m.Payload, opts...)
		}
	}
	return []streamtest.Simulated{
		agent("first", to("second")), agent("second", to("third")),
		agent("third", func(m *agents.Message[schemas.ErrorReply], opts ...agents.Option) error {
			return m.Publish("results", &m.Payload, opts...)
		}),
	}
}

func charge(m *schemas.ErrorReply) float64 { return float64(len(m.Message)) }

// checkBudgets holds what each message may spend against that of its cause.
func checkBudgets(topics map[string][]streaming.Record) (wrong []string) {
	budgets := make(map[string]float64) // by message ID
	type child struct {
		topic, id, cause string
		left, charged    float64
	}
	var children []child
	for topic, recs := range topics {
		if !strings.HasPrefix(topic, "parley.inbox.") && !strings.HasPrefix(topic, "parley.events.") || strings.Count(topic, ".") > 2 {
			continue
		}
		for i := range recs {
			env, err := schemas.DecodeEnvelope(&recs[i])
			if err != nil || env.Budget == "" {
				continue // malformed by a fault
			}
			b, err := streaming.ParseBudget(env.Budget)
			if err != nil || b.Unit != "tokens" {
				wrong = append(wrong, fmt.Sprintf("%s: %s may spend %q", topic, env.ID, env.Budget))
				continue
			}
			budgets[env.ID] = b.Amount
			_, payload, err := schemas.ParseFrame(recs[i].Value)
			if err != nil {
				continue
			}
			n := 0 // of the message text, after an empty reason
			for shift, at := 0, 1; at < len(payload); at, shift = at+1, shift+7 {
				n |= int(payload[at]&0x7f) << shift
				if payload[at] < 0x80 {
					break
				}
			}
			children = append(children, child{topic, env.ID, env.CausationID, b.Amount, float64(n / 2)})
		}
	}
	passed := 0
	for _, c := range children {
		had, known := budgets[c.cause]
		if !known {
			continue
		}
		passed++
		if c.left != had-c.charged {
			wrong = append(wrong, fmt.Sprintf("budget: %s: %s may spend %v: its cause %v, and charged %v", c.topic, c.id, c.left, had, c.charged))
		}
	}
	if passed < 100 {
		wrong = append(wrong, fmt.Sprintf("budget: %d messages only have passed one on", passed))
	}
	return wrong
}

// TestBudgetUnderFaults: along a chain each message has what its cause had, less
// what was charged once, whatever crashes and is tried again.
func TestBudgetUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run BudgetUnderFaults -seeds %d -seed %d", first, n, first)
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := streamtest.Simulate(t, seed, streamtest.Simulation{
				Agents: spenders(seed%2 == 1), Topics: []string{"parley.events.results"}, Messages: 100, Check: checkBudgets, TraceDir: *traces, KeepTrace: *keep,
				Message: func(r *rand.Rand, i int) streamtest.Message {
					return streamtest.Message{
						Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.ErrorReply{Message: strings.Repeat("x", r.IntN(10))},
						Envelope: func(env *streaming.Envelope) { env.Budget = fmt.Sprintf("tokens=%d", 2+r.IntN(30)) },
					}
				},
			})
			if o.Dead["policy"] == 0 {
				t.Errorf("seed %d: nothing was over its budget", seed)
			}
		})
	}
}
