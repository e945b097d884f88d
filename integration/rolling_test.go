//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/chaos"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v1"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v2"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

var rollSeed = flag.Uint64("roll-seed", 0, "seed of TestRollingDeploy; 0: a new one")

// A rolling deploy replaces one worker after the other. In each run there are
// ten, to version 2 and back, of two workers each.
const (
	rollDeploys = 10
	rollWorkers = 2
	rollKeys    = 200
	rollBatch   = 10 // every 250 ms, of each version's sender
)

// TestRollingDeploy replaces the workers of an agent by those of another version,
// forth and back, under load. Meanwhile senders of both versions write, and
// readers of both versions read what is put out. Tasks wait in retry topics, as
// dead letters, with results of steps in the ledger, while the version changes;
// dead letters are redriven after it. Some workers are killed.
func TestRollingDeploy(t *testing.T) {
	brokers, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	registerVersions(t, registry.URL)
	for name, r := range map[string]*roll{
		"at least once":           {},
		"exactly once, keys held": {exactlyOnce: true, hold: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.seed = *rollSeed
			if r.seed == 0 {
				r.seed = rand.Uint64()
			}
			t.Logf("seed %d; -roll-seed draws the same tasks", r.seed)
			r.t, r.brokers, r.registry, r.name = t, strings.Split(brokers.Bootstrap(), ","), registry.URL, "desk"+fmt.Sprintf("-%06x", rand.N(1<<24))
			r.run(t.Context())
		})
	}
}

// roll is one run.
type roll struct {
	t                 *testing.T
	seed              uint64 // of the tasks' order, and of the pauses between restarts
	brokers           []string
	registry, name    string
	exactlyOnce, hold bool

	platform *agents.Platform
	log      *kafka.Log
	fleet    *chaos.Fleet
	version  [rollWorkers]atomic.Int32 // of each worker
	ready    [rollWorkers]int          // processes that were, by slot

	fed      map[chaos.MessageID]bool
	resent   int
	readers  [2]*rollReader // by version-1
	restarts int
	kills    int
	redriven int
}

// rollReader is an agent behind, of one version.
type rollReader struct {
	mu   sync.Mutex
	acts map[string][]rolling.Act
}

func (r *rollReader) add(id string, a rolling.Act) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acts[id] = append(r.acts[id], a)
}

func (r *rollReader) different() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acts)
}

func (r *roll) giver(v rolling.Version) string { return fmt.Sprintf("%s-giver-%d", r.name, v) }

func (r *roll) inbox() string { return streaming.DefaultNamespace.Inbox(r.name) }

func (r *roll) dead() string { return streaming.DeadLetterTopic(r.inbox(), r.name) }

func (r *roll) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *roll) run(ctx context.Context) {
	r.open(ctx)
	defer r.log.Close()
	dir := r.t.TempDir()
	var err error
	r.version[0].Store(1)
	r.version[1].Store(1)
	r.fleet, err = chaos.NewProcesses(rolling.WorkerVariable, func(number int, _ string) (string, error) {
		text, err := json.Marshal(rolling.Spec{
			Brokers: r.brokers, Registry: r.registry, Agent: r.name, Version: rolling.Version(r.version[number].Load()),
			ExactlyOnce: r.exactlyOnce, Hold: r.hold, Instance: fmt.Sprintf("slot-%d", number),
		})
		return string(text), err
	}, 1, rollWorkers, dir)
	defer r.fleet.End()
	r.must(err)
	for slot := range rollWorkers {
		r.awaitReady(slot)
	}
	reading, stopReading := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stopReading()
	for i := range r.readers {
		a := r.reader(rolling.Version(i + 1))
		background.Go(func() {
			if err := r.platform.Run(reading, a); err != nil {
				r.t.Errorf("%s: %v", a.Name(), err)
			}
		})
	}
	feeding, stopFeeding := context.WithCancel(ctx)
	defer stopFeeding()
	var feeders sync.WaitGroup
	var mu sync.Mutex
	for v := rolling.Version(1); v <= 2; v++ {
		feeders.Go(func() { r.feed(ctx, feeding, v, &mu) })
	}
	begin := time.Now()
	for n := range rollDeploys - 2 {
		r.deploy(ctx, rolling.Version(2-n%2))
		r.redrive(ctx)
	}
	stopFeeding()
	feeders.Wait()
	// Each version has the dead letters of the other to settle. A few more deploys
	// may be needed where a kill has made a task die late.
	for n := 0; n < 2 || !r.settled() && n < 6; n++ {
		r.deploy(ctx, rolling.Version(2-n%2))
		for end := time.Now().Add(8 * time.Second); !r.settled() && time.Now().Before(end); {
			r.redrive(ctx)
			time.Sleep(time.Second) // what was redriven is handled, and may die again
		}
	}
	took := time.Since(begin)
	for _, err := range r.fleet.Drain(40 * time.Second) {
		r.t.Error(err)
	}
	for _, exit := range r.fleet.Exits() {
		r.t.Errorf("a worker has ended by itself: %s", exit)
	}
	r.t.Logf("%d restarts in %s, %d of them by SIGKILL; %d tasks and %d sent again; %d dead letters redriven",
		r.restarts, took.Round(time.Second), r.kills, len(r.fed), r.resent, r.redriven)
	r.judge(ctx)
	if r.t.Failed() {
		for slot := range rollWorkers {
			text, _ := os.ReadFile(r.fleet.LogFile(slot))
			for line := range strings.Lines(string(text)) {
				if !strings.HasPrefix(line, "step ") {
					r.t.Logf("worker %d: %s", slot, strings.TrimSpace(line))
				}
			}
		}
	}
}

// open connects and makes the topics that no worker makes.
func (r *roll) open(ctx context.Context) {
	r.fed = map[chaos.MessageID]bool{}
	var err error
	r.platform, err = agents.Connect(ctx, agents.PlatformConfig{Brokers: r.brokers, Registry: r.registry, Partitions: chaos.Partitions})
	r.must(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	r.must(err)
	defer client.Close()
	topics, err := kadm.NewClient(client).CreateTopics(ctx, chaos.Partitions, 1, nil, streaming.DefaultNamespace.Events(r.name),
		streaming.DefaultNamespace.Inbox(r.giver(1)), streaming.DefaultNamespace.Inbox(r.giver(2)))
	r.must(err)
	r.must(topics.Error())
	r.log, err = kafka.NewLog(kafka.Config{Brokers: r.brokers})
	r.must(err)
}

// reader is the agent behind, of a version.
func (r *roll) reader(v rolling.Version) *agents.Agent {
	reader := &rollReader{acts: map[string][]rolling.Act{}}
	r.readers[v-1] = reader
	a := agents.New(fmt.Sprintf("%s-reader-%d", r.name, v), agents.Config{
		Streams: []string{r.name}, Retry: retry.Policy{Tiers: []time.Duration{300 * time.Millisecond}, Attempts: 3},
	})
	if v == 1 {
		agents.On(a, func(_ context.Context, m *agents.Message[v1.Done]) error {
			reader.add(m.Payload.ID, rolling.Act1(&m.Payload))
			return nil
		})
	} else {
		agents.On(a, func(_ context.Context, m *agents.Message[v2.Done]) error {
			reader.add(m.Payload.ID, rolling.Act2(&m.Payload))
			return nil
		})
	}
	return a
}

// feed sends tasks of a version, some of them again, until feeding ends.
func (r *roll) feed(ctx, feeding context.Context, v rolling.Version, mu *sync.Mutex) {
	sender, err := r.platform.Sender(r.giver(v))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer sender.Close()
	rnd := rand.New(rand.NewPCG(r.seed, uint64(v)))
	var sent []chaos.MessageID
	next := map[int]int{}
	draft := func(m chaos.MessageID) agents.Draft {
		opts := []agents.Option{agents.ID(m.String()), agents.Key(chaos.KeyName(m.Key))}
		if rolling.FateOf(m.String()).Request {
			opts = append(opts, agents.Kind(streaming.KindRequest))
		}
		return sender.ToAgent(r.name, rolling.Task(m), opts...)
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var drafts []agents.Draft
		for range rollBatch {
			m := chaos.MessageID{Key: 2*rnd.IntN(rollKeys/2) + int(v) - 1}
			m.Seq = next[m.Key]
			next[m.Key]++
			sent = append(sent, m)
			drafts = append(drafts, draft(m))
		}
		// The answers of requests are asked for again, by whichever version is there.
		again := sent[rnd.IntN(len(sent))]
		for range 20 {
			if rolling.FateOf(again.String()).Request {
				break
			}
			again = sent[rnd.IntN(len(sent))]
		}
		drafts = append(drafts, draft(again))
		if err := sender.Send(ctx, drafts...); err != nil {
			r.t.Error(err)
			return
		}
		mu.Lock()
		for _, m := range sent[len(sent)-rollBatch:] {
			r.fed[m] = true
		}
		r.resent++
		mu.Unlock()
		select {
		case <-tick.C:
		case <-feeding.Done():
			return
		}
	}
}

// deploy replaces one worker after the other.
func (r *roll) deploy(ctx context.Context, v rolling.Version) {
	r.t.Helper()
	rnd := rand.New(rand.NewPCG(r.seed, uint64(100+r.restarts)))
	for slot := range rollWorkers {
		sig := syscall.SIGTERM
		if r.restarts%6 == 3 {
			sig = syscall.SIGKILL
			r.kills++
		}
		r.version[slot].Store(int32(v))
		r.must(r.fleet.Replace(slot, sig, 30*time.Second))
		r.restarts++
		r.awaitReady(slot)
		select {
		case <-time.After(time.Duration(100+rnd.IntN(400)) * time.Millisecond): // both versions are at work
		case <-ctx.Done():
		}
	}
}

// awaitReady waits until a slot's new process has its partitions.
func (r *roll) awaitReady(slot int) {
	r.t.Helper()
	r.ready[slot]++
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) { // polls the process's output
		text, err := os.ReadFile(r.fleet.LogFile(slot))
		if err == nil && strings.Count("\n"+string(text), "\nready ") >= r.ready[slot] {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("worker %d is not ready:\n%s", slot, text)
		}
	}
}

// redrive gives all dead letters back to whichever version is there.
func (r *roll) redrive(ctx context.Context) {
	r.t.Helper()
	redrive := retry.Redrive{Log: r.log, Codec: r.platform.Codec(), Group: r.name, Inputs: []string{r.inbox()}, By: "test"}
	plan, err := redrive.Plan(ctx)
	r.must(err)
	for _, n := range plan.ToDo {
		r.redriven += n
	}
	r.must(redrive.Run(ctx, plan))
}

// settled: both readers have seen all tasks.
func (r *roll) settled() bool {
	return r.readers[0].different() >= len(r.fed) && r.readers[1].different() >= len(r.fed)
}
