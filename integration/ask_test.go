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
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

var (
	askKills = flag.Int("ask-kills", 2, "how often TestAskUnderKills kills who asks, and who answers, each")
	askSeed  = flag.Uint64("ask-seed", 0, "seed of TestAskUnderKills; 0: a new one")
)

// The slots of the two processes.
const (
	slotAsker = iota
	slotAnswerer
	askSlots
)

// The messages: how many keys, the time between two, and how many may be without a
// result at a kill. Killed too often both would hardly get on.
const (
	askKeys   = 300
	askEvery  = 30 * time.Millisecond
	askBehind = 100
)

// TestAskUnderKills kills the process of an agent that asks from its handlers, and
// that of the agent that answers, in turn, under load. Each message has one result:
// with its answer, or, where nobody has answered in time, without.
func TestAskUnderKills(t *testing.T) {
	brokers, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	for name, exactlyOnce := range map[string]bool{"at least once": false, "exactly once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &askRun{
				t: t, seed: *askSeed, exactlyOnce: exactlyOnce, broker: brokers.Bootstrap(), registry: registry.URL,
				name: fmt.Sprintf("asker-%06x", rand.N(1<<24)),
			}
			if r.seed == 0 {
				r.seed = rand.Uint64()
			}
			t.Logf("seed %d; -ask-seed draws the same messages and pauses", r.seed)
			r.run(t.Context())
		})
	}
}

// askRun is one run.
type askRun struct {
	t                *testing.T
	seed             uint64
	exactlyOnce      bool
	broker, registry string
	name             string // of the asker
	client           *kgo.Client
	fleet            *chaos.Fleet
	begun            [askSlots]int // processes that were at work, by slot

	sent     map[string]string // accepted messages: what their asker asks
	accepted atomic.Int64
	ended    atomic.Int64 // messages with a result
}

func (r *askRun) answerer() string { return r.name + "-other" }

func (r *askRun) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *askRun) run(ctx context.Context) {
	ns := streaming.DefaultNamespace
	inbox, others, results := ns.Inbox(r.name), ns.Inbox(r.answerer()), ns.Events(r.name)
	var err error
	r.client, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(r.broker, ",")...))
	r.must(err)
	defer r.client.Close()
	made, err := kadm.NewClient(r.client).CreateTopics(ctx, askPartitions, 1, nil, inbox, others, results)
	r.must(err)
	r.must(made.Error())

	r.fleet, err = chaos.NewProcesses(askVariable, func(slot int, _ string) (string, error) {
		s := askSpec{Broker: r.broker, Registry: r.registry, Agent: r.name, Asks: r.answerer(), ExactlyOnce: r.exactlyOnce}
		if slot == slotAnswerer {
			s.Agent, s.Asks = r.answerer(), ""
		}
		text, err := json.Marshal(s)
		return string(text), err
	}, 1, askSlots, r.t.TempDir())
	defer r.fleet.End()
	r.must(err)
	feeding, stopFeeding := context.WithCancel(ctx)
	defer stopFeeding()
	watching, stopWatching := context.WithCancel(ctx)
	var feeder, watcher sync.WaitGroup
	defer watcher.Wait()
	defer stopWatching()
	watcher.Go(func() { r.watch(watching, results) })
	feeder.Go(func() { r.feed(ctx, feeding) })
	begin := time.Now()
	rnd := rand.New(rand.NewPCG(r.seed, 1))
	for range *askKills {
		r.awaitResults(askBehind)
		for slot := range askSlots {
			r.awaitWork(slot)
			time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Second)))) // the kill comes at any moment
			r.must(r.fleet.Replace(slot, syscall.SIGKILL, 30*time.Second))
		}
	}
	stopFeeding()
	feeder.Wait()
	killed := time.Since(begin)
	r.awaitResults(0)
	time.Sleep(askDeadlines[askRaced] + time.Second) // a second result, if one comes, comes by then
	settled := time.Since(begin)
	for _, err := range r.fleet.Drain(40 * time.Second) {
		r.t.Error(err)
	}
	for _, exit := range r.fleet.Exits() {
		r.t.Errorf("a process has ended by itself: %s", exit)
	}
	r.t.Logf("%d kills of each in %s, %d messages; settled after %s, drained after %s",
		*askKills, killed.Round(time.Second), len(r.sent), settled.Round(time.Second), time.Since(begin).Round(time.Second))
	r.judge(ctx, results, others, streaming.DeadLetterTopic(inbox, r.name), streaming.DeadLetterTopic(others, r.answerer()))
	if r.t.Failed() {
		for slot := range askSlots {
			text, _ := os.ReadFile(r.fleet.LogFile(slot))
			r.t.Logf("process %d:\n%s", slot, text)
		}
	}
}

// askID is a message's ID, as long as any.
func askID(n int) string { return fmt.Sprintf("m-%06d", n) }

// feed sends messages until feeding ends.
func (r *askRun) feed(ctx, feeding context.Context) {
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: []string{r.broker}, Registry: r.registry, Register: true, Partitions: askPartitions})
	if err != nil {
		r.t.Error(err)
		return
	}
	sender, err := p.Sender("feed")
	if err != nil {
		r.t.Error(err)
		return
	}
	defer sender.Close()
	rnd := rand.New(rand.NewPCG(r.seed, 2))
	r.sent = make(map[string]string)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		id, what := askID(n), askPlain
		switch rnd.IntN(20) {
		case 0, 1:
			what = askRaced
		case 2:
			what = askMute
		}
		err := sender.Send(ctx, sender.ToAgent(r.name, schemas.AgentControl{Reason: what}, agents.ID(id), agents.Key(fmt.Sprint("k-", rnd.IntN(askKeys)))))
		if err != nil {
			r.t.Errorf("%s was not accepted: %v", id, err)
			return
		}
		r.sent[id] = what
		r.accepted.Add(1)
		select {
		case <-tick.C:
		case <-feeding.Done():
			return
		}
	}
}

// awaitWork waits until a slot's process is at work.
func (r *askRun) awaitWork(slot int) {
	r.t.Helper()
	r.begun[slot]++
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // polls the process's output
		text, err := os.ReadFile(r.fleet.LogFile(slot))
		if err == nil && strings.Count("\n"+string(text), "\nwork ") >= r.begun[slot] {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("process %d, the %d., does not handle anything:\n%s", slot, r.begun[slot], text)
		}
	}
}

// watch counts the messages that have a result, as they come.
func (r *askRun) watch(ctx context.Context, results string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(r.broker, ",")...), kgo.ConsumeTopics(results),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer client.Close()
	have := make(map[string]bool)
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) { have[string(rec.Key)] = true })
		r.ended.Store(int64(len(have)))
	}
}

// awaitResults waits until all messages but so many have a result.
func (r *askRun) awaitResults(behind int64) {
	r.t.Helper()
	for end := time.Now().Add(askDeadlines[askPlain]); r.accepted.Load()-r.ended.Load() > behind; time.Sleep(50 * time.Millisecond) { // polls what watch counts
		if time.Now().After(end) {
			r.t.Errorf("only %d of %d messages have a result", r.ended.Load(), r.accepted.Load())
			return
		}
	}
}

// committed are the records of topics that a read_committed reader sees.
func (r *askRun) committed(ctx context.Context, topics ...string) []*kgo.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(r.client).ListCommittedOffsets(ctx, topics...)
	r.must(err)
	r.must(ends.Error())
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(r.broker, ",")...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	r.must(err)
	defer client.Close()
	left := make(map[string]bool)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[fmt.Sprint(o.Topic, o.Partition)] = true
		}
	})
	var recs []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		r.must(fetches.Err())
		fetches.EachRecord(func(rec *kgo.Record) {
			if !rec.Attrs.IsControl() {
				recs = append(recs, rec)
			}
			if end, _ := ends.Lookup(rec.Topic, rec.Partition); rec.Offset+1 >= end.Offset {
				delete(left, fmt.Sprint(rec.Topic, rec.Partition))
			}
		})
	}
	return recs
}
