//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// TestHandOver lets a second worker join a working one, and leave again, under
// load: a message is handled once, in the order of its key, and what stays with
// the first worker is not held up. From one protocol to the other a group is
// moved in the same way.
func TestHandOver(t *testing.T) {
	broker := cluster.StartKafka(t, cluster.KafkaOptions{Env: freezeBroker})
	registry, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close(context.Background()) })
	for _, protocols := range [][2]kafka.GroupProtocol{
		{kafka.ProtocolClassic, kafka.ProtocolClassic},
		{kafka.ProtocolConsumer, kafka.ProtocolConsumer},
		{kafka.ProtocolClassic, kafka.ProtocolConsumer},
	} {
		for _, exactlyOnce := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s to %s, exactly once %t", protocols[0], protocols[1], exactlyOnce), func(t *testing.T) {
				t.Parallel()
				h := &handOver{T: t, agent: cluster.Name(t), runs: map[string][]string{}, last: map[string]int{}}
				var err error
				if h.platform, err = connectTo(t.Context(), broker.Bootstrap(), registry.RegistryURL(), nil); err != nil {
					t.Fatal(err)
				}
				h.run(protocols, exactlyOnce)
			})
		}
	}
}

// handOver is an agent whose messages are handed from worker to worker.
type handOver struct {
	*testing.T
	agent    string
	platform *agents.Platform

	mu       sync.Mutex
	runs     map[string][]string // workers that have handled a message
	last     map[string]int      // by key
	disorder int
	gap      time.Duration // the longest between two runs at the first worker
	at       time.Time
}

func (h *handOver) run(protocols [2]kafka.GroupProtocol, exactlyOnce bool) {
	stopFirst := h.start("first", protocols[0], exactlyOnce)
	sender, err := h.platform.Sender("giver")
	if err != nil {
		h.Fatal(err)
	}
	defer sender.Close()
	ctx, stopFeed := context.WithCancel(h.Context())
	defer stopFeed()
	sent := 0
	fed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			var drafts []agents.Draft
			for range 5 {
				drafts = append(drafts, sender.ToAgent(h.agent, &schemas.ErrorReply{}, agents.ID(fmt.Sprintf("%06d", sent)), agents.Key(strconv.Itoa(rand.IntN(40)))))
				sent++
			}
			if err := sender.Send(h.Context(), drafts...); err != nil {
				fed <- err
				return
			}
			time.Sleep(20 * time.Millisecond) // sets the rate
		}
		fed <- nil
	}()
	h.await("the first worker handles", func() bool { return h.share("first") > 50 })
	joined := time.Now()
	stopSecond := h.start("second", protocols[1], exactlyOnce)
	h.await("the second worker handles", func() bool { return h.share("second") > 0 })
	took := time.Since(joined)
	h.await("both work", func() bool { return h.share("second") > 200 })
	if protocols[0] == protocols[1] {
		stopSecond()
	} else {
		stopFirst() // the second goes on alone: the group has moved
	}
	h.mu.Lock()
	gap := h.gap
	h.mu.Unlock()
	stopFeed()
	if err := <-fed; err != nil {
		h.Fatal(err)
	}
	h.await("all is handled", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.runs) >= sent
	})
	stopFirst()
	stopSecond()
	repeated := 0
	for _, workers := range h.runs {
		if len(workers) > 1 {
			repeated++
		}
	}
	h.Logf("%d messages; the second worker handles %s after its start; the first pauses for %s at most; %d repeated, %d out of order",
		len(h.runs), took.Truncate(time.Millisecond), gap.Truncate(time.Millisecond), repeated, h.disorder)
	if len(h.runs) != sent || repeated > 0 || h.disorder > 0 {
		h.Errorf("of %d messages %d were handled", sent, len(h.runs))
	}
}

// start runs a worker until it is stopped, which drains it.
func (h *handOver) start(name string, protocol kafka.GroupProtocol, exactlyOnce bool) (stop func()) {
	a := agents.New(h.agent, agents.Config{
		ExactlyOnce: exactlyOnce, GroupProtocol: protocol, Instance: name,
		Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 3},
	})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		n, _ := strconv.Atoi(m.ID())
		h.mu.Lock()
		defer h.mu.Unlock()
		h.runs[m.ID()] = append(h.runs[m.ID()], name)
		if last, ok := h.last[m.Key]; ok && n < last {
			h.disorder++
		}
		h.last[m.Key] = max(n, h.last[m.Key])
		if name == "first" {
			if !h.at.IsZero() {
				h.gap = max(h.gap, time.Since(h.at))
			}
			h.at = time.Now()
		}
		return nil
	})
	w, err := h.platform.Worker(a)
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.Run(ctx); err != nil {
			h.Errorf("%s: %v", name, err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	h.Cleanup(stop)
	if name == "first" {
		select {
		case <-w.Ready():
		case <-time.After(time.Minute):
			h.Fatal("the first worker is not ready")
		}
	}
	return stop
}

// share is how many messages a worker has handled.
func (h *handOver) share(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, workers := range h.runs {
		if slices.Contains(workers, name) {
			n++
		}
	}
	return n
}

func (h *handOver) await(what string, ok func() bool) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) { // polls a condition on the broker
		if time.Now().After(deadline) {
			h.Fatalf("not within a minute: %s", what)
		}
	}
}
