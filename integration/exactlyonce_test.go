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
	copyMessages = flag.Int("copy-messages", 3000, "messages of the exactly-once copy")
	copySeed     = flag.Uint64("copy-seed", 0, "seed of the exactly-once copy; 0: a new one")
)

// copierVariable makes the test binary a worker process instead of a test run.
const copierVariable = "PARLEY_TEST_COPIER"

func copier(group string) *agents.Agent {
	a := agents.New(group, agents.Config{
		ExactlyOnce: true, SessionTimeout: 6 * time.Second, DrainTimeout: 3 * time.Second,
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
	part := strings.Split(spec, " ") // brokers, registry, group
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := connectTo(ctx, part[0], part[1], slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})).With("pid", os.Getpid()))
	if err == nil {
		err = p.Run(ctx, copier(part[2]))
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

	spec := kafka.Bootstrap() + " " + registry.URL + " " + group
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
			if rnd.IntN(3) > 0 {
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
	seen := readUntil(t, ctx, kafka.Bootstrap(), out, *copyMessages)
	for i := range workers {
		_ = workers[i].Process.Signal(syscall.SIGTERM)
	}
	for i := range workers {
		if err := workers[i].Wait(); err != nil {
			t.Errorf("worker %d does not drain: %v", i, err)
		}
	}
	seen = append(seen, readUntil(t, ctx, kafka.Bootstrap(), out, -1)[len(seen):]...)
	times := map[string]int{}
	last := map[string]string{}
	disorder := 0
	for _, r := range seen {
		id := string(r.Value[len(r.Value)-7 : len(r.Value)-1])
		times[id]++
		if key := string(r.Key); id < last[key] {
			disorder++
		} else {
			last[key] = id
		}
	}
	twice := 0
	for _, n := range times {
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d messages, %d kills, %d freezes: lost %d, twice %d, out of order %d",
		*copyMessages, kills, stops, *copyMessages-len(times), twice, disorder)
	if len(times) != *copyMessages || twice > 0 || disorder > 0 {
		t.Error("not exactly once, or not in order")
	}
}

// readUntil reads a topic from its start, read_committed, until it has n
// records, or with -1 to its end.
func readUntil(t *testing.T, ctx context.Context, brokers, topic string, n int) []*kgo.Record {
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
	if n < 0 {
		ends.Each(func(o kadm.ListedOffset) {
			if o.Offset > 0 {
				left[o.Partition] = o.Offset
			}
		})
	}
	var all []*kgo.Record
	for (n >= 0 && len(all) < n) || (n < 0 && len(left) > 0) {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: %d of %d records within the time", topic, len(all), n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}
