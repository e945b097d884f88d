//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// market is a manager and three bidders, whose bids and luck are functions of seed,
// task and agent.
type market struct {
	seed        uint64
	exactlyOnce bool

	mu    sync.Mutex
	codec *schemas.Codec // of the manager
	mgr   *contractnet.Manager[schemas.Ack, schemas.Ack]

	count map[string]int // what the seed had
}

var bidders = []string{"ann", "bob", "cid"}

// As long as it takes a worker to learn of an answer that was lost, and more: what is
// due before it has its place in a retry topic may be passed by others of its key.
const (
	bidsFor = 6 * time.Second
	workFor = 6 * time.Second
)

func (k *market) agent(c *streamtest.Cluster, name string) (*agents.Platform, *agents.Agent, error) {
	p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
	return p, agents.New(name, agents.Config{
		ExactlyOnce: k.exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{500 * time.Millisecond, 3 * time.Second}, Attempts: 3},
	}), err
}

func (k *market) boss(c *streamtest.Cluster) (worker.Config, error) {
	p, a, err := k.agent(c, "boss")
	if err != nil {
		return worker.Config{}, err
	}
	mgr := contractnet.Manage(a, "work", contractnet.Config{Bids: bidsFor, Work: workFor, Remember: 20 * time.Second},
		func(_ context.Context, c *contractnet.Concluded[schemas.Ack, schemas.Ack]) error {
			if c.Attempt == 1 && k.draw(c.Task.Messageid, "boss").IntN(5) == 0 {
				return errors.New("the first attempt fails")
			}
			return c.Publish("conclusions", &schemas.Ack{Messageid: c.Task.Messageid, Source: c.Winner, Mode: c.Result.Mode}, agents.Key(c.ID))
		})
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.Ack]) error {
		_, err := mgr.Call(ctx, m, m.Payload, bidders[:1+k.draw(m.Payload.Messageid, "candidates").IntN(3)])
		return err
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.codec, k.mgr = p.Codec(), mgr
	return p.WorkerConfig(a)
}

func (k *market) draw(task, who string) *rand.Rand {
	return rand.New(rand.NewPCG(k.seed, hash(task+who)))
}

func (k *market) bidder(name string) func(*streamtest.Cluster) (worker.Config, error) {
	return func(c *streamtest.Cluster) (worker.Config, error) {
		p, a, err := k.agent(c, name)
		if err != nil {
			return worker.Config{}, err
		}
		contractnet.Bid(a, "work", func(ctx context.Context, c *contractnet.Call[schemas.Ack]) (contractnet.Offer, error) {
			r := k.draw(c.Task.Messageid, name)
			switch n := r.IntN(20); {
			case n < 3:
				return contractnet.Refuse("busy"), nil
			case n < 4:
				return contractnet.Offer{}, agents.Permanent(errors.New("cannot say"))
			case n < 5 && c.Attempt == 1:
				return contractnet.Offer{}, errors.New("not yet")
			case n < 7 && c.Attempt == 1: // too late, or nearly
				return contractnet.Offer{}, agents.RetryAfter(bidsFor-time.Duration(r.IntN(200))*time.Millisecond, errors.New("in a while"))
			}
			return contractnet.Cost(float64(r.IntN(4))), sleep(ctx, time.Duration(r.IntN(20))*time.Millisecond)
		}, func(ctx context.Context, j *contractnet.Job[schemas.Ack]) (schemas.Ack, error) {
			r := k.draw(j.Task.Messageid, name+" works")
			effect, err := agents.Step(ctx, j.Message, "effect", func(context.Context) (string, error) { return fmt.Sprint(rand.Uint64()), nil })
			if err != nil {
				return schemas.Ack{}, err
			}
			result := schemas.Ack{Messageid: j.ID(), Source: name, Mode: effect}
			switch n := r.IntN(20); {
			case n < 3:
				return result, &contractnet.FailedError{Reason: "no luck"}
			case n < 5:
				return result, agents.Permanent(errors.New("broken"))
			case n < 7 && j.Attempt == 1:
				return result, errors.New("not yet")
			case n < 11 && j.Attempt == 1: // too late, or nearly
				return result, agents.RetryAfter(workFor-time.Duration(r.IntN(400))*time.Millisecond, errors.New("in a while"))
			}
			return result, sleep(ctx, time.Duration(r.IntN(200))*time.Millisecond)
		})
		return p.WorkerConfig(a)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestContractNetUnderFaults: under the faults of TestStateUnderFaults, and without
// redrive as there: the manager decides with keyed state.
func TestContractNetUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run ContractNetUnderFaults -seeds %d -seed %d", first, n, first)
	var checked atomic.Int64
	var mu sync.Mutex
	total := make(map[string]int)
	t.Cleanup(func() {
		t.Logf("%d of %d seeds checked: %v", checked.Load(), n, total)
		if checked.Load() < int64(n)/2 {
			t.Error("too few")
		}
	})
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			k := &market{seed: seed, exactlyOnce: seed%2 == 1, count: make(map[string]int)}
			faults := slices.DeleteFunc(streamtest.Faults(), func(f streamtest.Fault) bool { return f == streamtest.FaultRedrive })
			if !k.exactlyOnce {
				faults = []streamtest.Fault{
					streamtest.FaultError, streamtest.FaultTimeout, streamtest.FaultCut, streamtest.FaultSlow, streamtest.FaultLeaders,
					streamtest.FaultCoords, streamtest.FaultJoin, streamtest.FaultLeave, streamtest.FaultDuplicate, streamtest.FaultMalformed,
				}
			}
			var wrong []string
			simulated := []streamtest.Simulated{{Config: k.boss}}
			for _, name := range bidders {
				simulated = append(simulated, streamtest.Simulated{Config: k.bidder(name)})
			}
			o := streamtest.Simulate(t, seed, streamtest.Simulation{
				Agents: simulated, Topics: []string{"parley.events.conclusions"}, Faults: faults, TraceDir: *traces, KeepTrace: *keep, Messages: 40,
				Message: func(r *rand.Rand, i int) streamtest.Message {
					return streamtest.Message{Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.Ack{Messageid: fmt.Sprint(i)}}
				},
				Check: func(topics map[string][]streaming.Record) []string {
					wrong = k.check(topics)
					return nil
				},
			})
			switch {
			case !k.exactlyOnce && o.Hits[weakened] > 0:
				return // two owners may have been at work side by side
			case o.Dead["crash"] > 0:
				return // a message that was begun, and counted here, is dead
			}
			checked.Add(1)
			for _, w := range wrong {
				t.Errorf("seed %d: %s\n%s", seed, w, o.Plan)
			}
			mu.Lock()
			defer mu.Unlock()
			for what, n := range k.count {
				total[what] += n
			}
		})
	}
}
