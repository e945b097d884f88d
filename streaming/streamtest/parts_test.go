//go:build synctests

package streamtest

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// TestPartsOutliveTwoCrashes: two runs in a row end between keeping a part of an answer
// and sending it. The third sends all that may be missing.
func TestPartsOutliveTwoCrashes(t *testing.T) {
	read := make(map[string][]int64) // by request
	o := Simulate(t, 1, Simulation{
		troubles: []trouble{}, crashes: map[int][]crash{0: {{step: StepResult, after: true, nth: 1}, {step: StepResult, after: true, nth: 1}}},
		Faults: []Fault{}, Length: 20 * time.Second, Messages: 20, Topics: []string{"parley.inbox.source"},
		Agents: []Simulated{{Workers: 1, Config: func(c *Cluster) (worker.Config, error) {
			p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
			if err != nil {
				return worker.Config{}, err
			}
			a := agents.New("a", agents.Config{})
			agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
				parts, err := agents.Answering[schemas.Ack](ctx, m)
				if err != nil {
					return err
				}
				for len(parts.Sent()) < 3 {
					if err := parts.Send(schemas.Ack{}); err != nil {
						return err
					}
				}
				return parts.End(schemas.Ack{})
			})
			return p.WorkerConfig(a)
		}}},
		Message: func(*rand.Rand, int) Message { return Message{Key: "k", Payload: &schemas.ErrorReply{}} },
		Check: func(topics map[string][]streaming.Record) []string {
			for _, rec := range topics["parley.inbox.source"] {
				env, err := schemas.DecodeEnvelope(&rec)
				if err == nil && env.Sequence == int64(len(read[env.CausationID]))+1 {
					read[env.CausationID] = append(read[env.CausationID], env.Sequence)
				}
			}
			return nil
		},
	})
	if n := o.Hits["at least once: crash after result"]; n != 2 {
		t.Errorf("%d crashes", n)
	}
	if len(read) != 20 {
		t.Errorf("%d answers", len(read))
	}
	want := []int64{1, 2, 3, 4}
	for id, got := range read {
		if !slices.Equal(got, want) {
			t.Errorf("of the answer to %s parts %d can be read in order, want %d", id, got, want)
		}
	}
}
