//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// signposts is a cluster in which messages are routed, half of them by a handler and
// half by the router, while clerks change the routes: each set leads to the two
// streams of one pair.
type signposts struct {
	exactlyOnce bool
	applied     atomic.Int64
	conflicts   atomic.Int64
	mixed       atomic.Int64
}

var pairs = [][]string{{"a", "b"}, {"c", "d"}}

func (s *signposts) simulated(build func(p *agents.Platform, cfg agents.Config) *agents.Agent) streamtest.Simulated {
	return streamtest.Simulated{Config: func(c *streamtest.Cluster) (worker.Config, error) {
		p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
		if err != nil {
			return worker.Config{}, err
		}
		return p.WorkerConfig(build(p, agents.Config{
			ExactlyOnce: s.exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Second, 5 * time.Second}, Attempts: 4},
		}))
	}}
}

func (s *signposts) simulation(faults []streamtest.Fault) streamtest.Simulation {
	return streamtest.Simulation{
		TraceDir: *traces, KeepTrace: *keep, Faults: faults, Check: s.check,
		Topics: []string{"parley.events.a", "parley.events.b", "parley.events.c", "parley.events.d"},
		Agents: []streamtest.Simulated{
			s.simulated(func(_ *agents.Platform, cfg agents.Config) *agents.Agent {
				a := agents.New("sorter", cfg)
				agents.Routes(a)
				agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
					return m.Route(&m.Payload, agents.Key(m.Key))
				})
				return a
			}),
			s.simulated(func(_ *agents.Platform, cfg agents.Config) *agents.Agent { return agents.NewRouter("router", cfg) }),
			s.simulated(s.clerk),
		},
		Message: func(r *rand.Rand, i int) streamtest.Message {
			msg := streamtest.Message{Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.ErrorReply{Message: fmt.Sprint(i)}}
			switch n := r.IntN(16); {
			case n == 0 || i < 2:
				msg.Topic, msg.Payload = "parley.inbox.clerk", &schemas.ErrorReply{Reason: fmt.Sprint(r.IntN(2))}
			case n < 8:
				msg.Topic = "parley.inbox.router"
			}
			return msg
		},
	}
}

// clerk applies routes when it is told to. Of two that do at once, one tries again.
func (s *signposts) clerk(p *agents.Platform, cfg agents.Config) *agents.Agent {
	a := agents.New("clerk", cfg)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		sender, err := p.Sender("console") // not the agent: this is outside of its message
		if err != nil {
			return err
		}
		defer sender.Close()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		pair := pairs[0]
		if m.Payload.Reason == "1" {
			pair = pairs[1]
		}
		var defs []schemas.Route
		for _, stream := range pair {
			defs = append(defs, schemas.Route{
				Name: "to-" + stream, Match: "payload.message != ''", Types: []string{"agent.error"}, Mode: "fanout",
				Destinations: []schemas.RouteDestination{{To: "stream:" + stream, Weight: 1}},
			})
		}
		_, err = sender.ApplyRoutes(ctx, defs, m.ID(), "")
		var conflict *agents.RouteConflictError
		switch {
		case errors.As(err, &conflict):
			s.conflicts.Add(1)
		case err == nil:
			s.applied.Add(1)
		}
		return err
	})
	return a
}

// check: what is not dead stands in both streams of a pair: exactly once in those of
// one only. At least once a message may be routed again, by a newer set, after a crash.
func (s *signposts) check(topics map[string][]streaming.Record) []string {
	var wrong []string
	at := make(map[string]map[string]bool) // by agent and message
	for _, stream := range []string{"a", "b", "c", "d"} {
		for _, rec := range topics["parley.events."+stream] {
			env, err := schemas.DecodeEnvelope(&rec)
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("routes: %s: %v", stream, err))
				continue
			}
			who := "router/" + env.ID
			if env.Source == "sorter" {
				who = "sorter/" + env.CausationID
			} else if _, by := rec.Header("parley-forwarded"); !by || env.Recipient != "" || env.Source != "source" && !strings.HasPrefix(env.ID, "bad-") {
				wrong = append(wrong, fmt.Sprintf("routes: %s/%s in %s is not as it was forwarded", env.Source, env.ID, stream))
			}
			if at[who] == nil {
				at[who] = make(map[string]bool)
			}
			at[who][stream] = true
		}
	}
	for _, agent := range []string{"sorter", "router"} {
		inbox := "parley.inbox." + agent
		dead := make(map[string]bool)
		for _, rec := range topics[inbox+".dlq."+agent] {
			if env, err := schemas.DecodeEnvelope(&rec); err == nil {
				dead[env.ID] = true
			}
		}
		for _, rec := range topics[inbox] {
			env, err := schemas.DecodeEnvelope(&rec)
			if err != nil {
				continue
			}
			places := at[agent+"/"+env.ID]
			whole := slices.ContainsFunc(pairs, func(p []string) bool { return places[p[0]] && places[p[1]] })
			switch {
			case len(places) == 0 && dead[env.ID]:
			case !whole && !dead[env.ID]:
				wrong = append(wrong, fmt.Sprintf("routes: %s of %s is in %v, which is no pair", env.ID, agent, places))
			case s.exactlyOnce && len(places) > 2:
				wrong = append(wrong, fmt.Sprintf("routes: %s of %s is in %v, as no set says", env.ID, agent, places))
			case len(places) > 2:
				s.mixed.Add(1)
			}
		}
	}
	return wrong
}

// TestRoutesUnderFaults: routes change while workers crash, those of who changes them
// too.
func TestRoutesUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run RoutesUnderFaults -seeds %d -seed %d", first, n, first)
	var applied, conflicts, mixed atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d seeds: %d sets applied, %d refused as not the first of their version, %d messages routed again by a newer set", n, applied.Load(), conflicts.Load(), mixed.Load())
		if applied.Load() < int64(n)*3 {
			t.Error("too few sets")
		}
	})
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := &signposts{exactlyOnce: seed%2 == 1}
			streamtest.Simulate(t, seed, s.simulation(nil))
			applied.Add(s.applied.Load())
			conflicts.Add(s.conflicts.Load())
			mixed.Add(s.mixed.Load())
		})
	}
}
