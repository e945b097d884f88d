//go:build synctests

package streamtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// outlived kills a worker that handles a message of a lane which has a later owner.
type outlived struct {
	streaming.Handler

	mu     *sync.Mutex
	newest map[int32]int64 // epoch by partition
}

func (o outlived) Handle(ctx context.Context, d *streaming.Delivery) error {
	o.mu.Lock()
	former := d.Claim.Epoch < o.newest[d.Claim.Partition]
	o.newest[d.Claim.Partition] = max(d.Claim.Epoch, o.newest[d.Claim.Partition])
	o.mu.Unlock()
	if former {
		return Kill(ctx)
	}
	return o.Handler.Handle(ctx, d)
}

// TestTakeoverThatNobodyHearsOf: a worker joins, and the other cannot in time: the group
// throws it out without a word, and it works on beside the new owner until it dies.
// Without that, or where nobody takes over, nothing is forgiven.
func TestTakeoverThatNobodyHearsOf(t *testing.T) {
	slow := brokerError{kmsg.JoinGroup, kerr.CoordinatorLoadInProgress}
	join := trouble{at: 5 * time.Second, fault: FaultJoin, last: 8 * time.Second}
	for _, c := range []struct {
		name     string
		troubles []trouble
		weakened int
	}{
		{"thrown out", []trouble{join, {at: 5300 * time.Millisecond, fault: FaultError, kind: slices.Index(brokerErrors, slow), count: 12}}, 1},
		{"handed over", []trouble{join}, 0},
		{"nobody else", []trouble{{at: 5 * time.Second, fault: FaultZombie, last: 16 * time.Second}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			newest := make(map[int32]int64)
			o := Simulate(t, 1, Simulation{
				troubles: c.troubles, Faults: []Fault{}, Length: 24 * time.Second, Messages: 1200, Topics: []string{"parley.events.out"},
				Agents: []Simulated{{Workers: 1, Config: func(c *Cluster) (worker.Config, error) {
					p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
					if err != nil {
						return worker.Config{}, err
					}
					a := agents.New("a", agents.Config{})
					agents.On(a, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
						return m.Publish("out", &m.Payload, agents.Key(m.Key))
					})
					cfg, err := p.WorkerConfig(a)
					for name, h := range cfg.Handlers {
						cfg.Handlers[name] = outlived{h, &mu, newest}
					}
					return cfg, err
				}}},
				Message: func(r *rand.Rand, i int) Message {
					return Message{Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.Ack{Messageid: fmt.Sprint(i)}}
				},
			})
			if o.Hits[weakened] != c.weakened || o.Hits[handlerKills] != c.weakened || c.weakened > 0 && o.Hits[thrownOut] > 0 {
				t.Errorf("hits %v, want %d takeovers, and as many workers killed that had not heard of it", o.Hits, c.weakened)
			}
		})
	}
}
