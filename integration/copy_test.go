//go:build integration

package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

var (
	copyMessages = flag.Int("copy-messages", 2000, "messages of the exactly-once copy")
	copySeed     = flag.Uint64("copy-seed", 0, "seed of the exactly-once copy; 0: a new one")
)

// copierVariable makes the test binary a worker process instead of a test run.
const copierVariable = "PARLEY_TEST_COPIER"

func copier(group string, exactlyOnce bool) *agents.Agent {
	a := agents.New(group, agents.Config{
		ExactlyOnce: exactlyOnce, SessionTimeout: 6 * time.Second, DrainTimeout: 3 * time.Second,
		Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond, 500 * time.Millisecond}, Attempts: 4},
	})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		h := fnv.New32a()
		_, _ = h.Write([]byte(m.ID()))
		if fails := int(h.Sum32() % 20); m.Attempt <= fails-17 { // 5 % fail once, 5 % twice
			return errors.New("not yet")
		}
		return m.Publish(group, &schemas.ErrorReply{Reason: m.ID()}, agents.Key(m.Key))
	})
	return a
}

func connectTo(ctx context.Context, brokers, registry string, logger *slog.Logger) (*agents.Platform, error) {
	return agents.Connect(ctx, agents.PlatformConfig{Brokers: []string{brokers}, Registry: registry, Register: true, Partitions: 6, Logger: logger})
}

// runCopier is the worker process.
func runCopier(spec string) int {
	part := strings.Split(spec, " ") // brokers, registry, group, mode
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := connectTo(ctx, part[0], part[1], slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})).With("pid", os.Getpid()))
	if err == nil {
		err = p.Run(ctx, copier(part[2], part[3] == "exactly-once"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "copier:", err)
		return 1
	}
	return 0
}

// TestExactlyOnceUnderKills copies messages with three worker processes that
// are killed and frozen. A read_committed reader sees each copy once, in the
// order of its key.
func TestExactlyOnceUnderKills(t *testing.T) {
	n := copyUnderFaults(t, "exactly-once", true)
	if n.lost > 0 || n.records > n.messages || n.disorder > 0 {
		t.Error("not exactly once, or not in order")
	}
}

// TestAtLeastOnceUnderKills does the same with kills only: copies may repeat,
// but under the ID that the next agent knows, and in the order of their key.
func TestAtLeastOnceUnderKills(t *testing.T) {
	n := copyUnderFaults(t, "at-least-once", false)
	if n.lost > 0 || n.ids != n.messages || n.disorder > 0 {
		t.Error("lost, repeated under another ID, or not in order")
	}
}

// counts are what the topics say in the end.
type counts struct {
	messages, records, ids, lost, disorder int
}

func copyUnderFaults(t *testing.T, mode string, freeze bool) counts {
	t.Helper()
	kafka, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	seed := *copySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d; replay with -copy-seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	group := cluster.Name(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()

	p, err := connectTo(ctx, kafka.Bootstrap(), registry.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Bootstrap()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	out := string(streaming.DefaultNamespace.Events(group))
	if _, err := adm.CreateTopic(ctx, 6, 1, nil, out); err != nil {
		t.Fatal(err)
	}

	spec := kafka.Bootstrap() + " " + registry.URL + " " + group + " " + mode
	workers := make([]*exec.Cmd, 3)
	start := func(i int) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), copierVariable+"="+spec)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		workers[i] = cmd
	}
	kill := func(i int) {
		_ = workers[i].Process.Kill()
		_ = workers[i].Wait()
	}
	for i := range workers {
		start(i)
	}
	defer func() {
		for i := range workers {
			kill(i)
		}
	}()

	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	inbox := streaming.DefaultNamespace.Inbox(group)
	for { // the first worker makes the inbox
		if d, err := adm.ListTopics(ctx, inbox); err == nil && d.Has(inbox) && d[inbox].Err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("no worker made the inbox")
		}
		time.Sleep(100 * time.Millisecond) // polls a condition in other processes
	}
	sent := make(chan error, 1)
	go func() {
		n := *copyMessages
		for i := 0; i < n; i += 100 {
			var drafts []agents.Draft
			for j := i; j < min(i+100, n); j++ {
				drafts = append(drafts, s.ToAgent(group, &schemas.ErrorReply{}, agents.ID(fmt.Sprintf("%06d", j)), agents.Key(strconv.Itoa(j%97))))
			}
			if err := s.Send(ctx, drafts...); err != nil {
				sent <- err
				return
			}
			time.Sleep(400 * time.Millisecond) // spreads the load over the faults
		}
		sent <- nil
	}()

	kills, stops := 0, 0
	for feeding := true; feeding; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
			feeding = false
		case <-time.After(time.Duration(300+rnd.IntN(1200)) * time.Millisecond):
			i := rnd.IntN(len(workers))
			if !freeze || rnd.IntN(3) > 0 {
				kill(i)
				start(i)
				kills++
				continue
			}
			// Frozen past its session, then woken: a zombie.
			_ = workers[i].Process.Signal(syscall.SIGSTOP)
			time.Sleep(8 * time.Second)
			_ = workers[i].Process.Signal(syscall.SIGCONT)
			stops++
		}
	}

	// Every message is copied in the end; then nothing more may come.
	readUntil(t, ctx, kafka.Bootstrap(), out, *copyMessages)
	for i := range workers {
		_ = workers[i].Process.Signal(syscall.SIGTERM)
	}
	for i := range workers {
		if err := workers[i].Wait(); err != nil {
			t.Errorf("worker %d does not drain: %v", i, err)
		}
	}
	n := counts{messages: *copyMessages}
	times, ids, last := map[string]int{}, map[string]bool{}, map[string]string{}
	for _, r := range readUntil(t, ctx, kafka.Bootstrap(), out, 0) {
		n.records++
		for _, h := range r.Headers {
			if h.Key == "ce_id" {
				ids[string(h.Value)] = true
			}
		}
		id := string(r.Value[len(r.Value)-7 : len(r.Value)-1])
		if times[id]++; times[id] > 1 {
			continue
		}
		if id < last[string(r.Key)] {
			n.disorder++
		}
		last[string(r.Key)] = id
	}
	n.ids, n.lost = len(ids), n.messages-len(times)
	t.Logf("%s: %d kills, %d freezes: %+v", mode, kills, stops, n)
	return n
}

// readUntil reads a topic from its start, read_committed, until it has so many
// different values and has come to the end that the topic had at the call.
func readUntil(t testing.TB, ctx context.Context, brokers, topic string, different int) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var all []*kgo.Record
	values := map[string]bool{}
	for len(left) > 0 || len(values) < different {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: %d of %d different values within the time", topic, len(values), different)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
				values[string(r.Value)] = true
			}
		})
	}
	return all
}
