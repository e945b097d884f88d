package streamtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// greeter is an agent as a process of the simulation has it.
func greeter(c *streamtest.Cluster) (worker.Config, error) {
	p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
	if err != nil {
		return worker.Config{}, err
	}
	a := agents.New("greeter", agents.Config{})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		return m.Publish("greetings", &m.Payload, agents.Key(m.Key))
	})
	return p.WorkerConfig(a)
}

var greetings = streamtest.Simulation{
	Agents: []streamtest.Simulated{{Config: greeter}},
	Topics: []string{"parley.events.greetings"},
	Message: func(r *rand.Rand, i int) streamtest.Message {
		return streamtest.Message{Key: fmt.Sprint(r.IntN(5)), Payload: &schemas.ErrorReply{Message: fmt.Sprint(i)}}
	},
}

// A test of your own agents: two workers of one agent under crashes and faults
// of twenty seeds. Run it with go test -tags synctests.
func ExampleSimulate() {
	var t *testing.T // your test's

	for seed := range uint64(20) {
		streamtest.Simulate(t, seed, greetings)
	}
}
