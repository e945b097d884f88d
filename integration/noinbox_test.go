//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// TestAnAnswerWithoutAnInboxOnKafka has a sender outside, without an inbox, ask an
// agent: each answer is dropped and counted, and no message is retried. Once the
// sender has made its inbox, the next answer is in it, however short a time before.
func TestAnAnswerWithoutAnInboxOnKafka(t *testing.T) {
	for name, exactlyOnce := range map[string]bool{"at least once": false, "exactly once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testAnAnswerWithoutAnInbox(t, exactlyOnce)
		})
	}
}

func testAnAnswerWithoutAnInbox(t *testing.T, exactlyOnce bool) {
	broker, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	metrics, err := telemetry.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	namespace := streaming.Namespace(cluster.Name(t))
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: []string{broker.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 1, Namespace: namespace, Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	attempts := make(chan string, 100)
	echo := agents.New("echo", agents.Config{ExactlyOnce: exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Millisecond}, Attempts: 2}})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		attempts <- fmt.Sprint(m.ID(), " ", m.Attempt)
		return m.Reply(&schemas.Ack{Messageid: m.ID()})
	})
	w, err := p.Worker(echo)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Bootstrap()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	await := func(want string) {
		t.Helper()
		select {
		case got := <-attempts:
			if got != want {
				t.Fatalf("attempt %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not handled", want)
		}
	}
	// Each is another sender, whose inbox the worker's client has held for unknown a
	// moment ago.
	const senders = 5
	for i := range senders {
		source := fmt.Sprintf("outside-%d", i)
		s, err := p.Sender(source)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(id string) {
			t.Helper()
			if err := s.Send(t.Context(), s.ToAgent("echo", &schemas.AgentControl{}, agents.ID(id), agents.Key("k"))); err != nil {
				t.Fatal(err)
			}
		}
		dropped := func() int { return int(testutil.ToFloat64(metrics.Replies("echo").Counter(telemetry.RepliesNoInbox))) }
		ask("without-" + source)
		await("without-" + source + " 1")
		eventually(t, func() error {
			if n := dropped(); n != i+1 {
				return fmt.Errorf("%d answers are dropped, not %d", n, i+1)
			}
			return nil
		})
		inbox := string(namespace.Inbox(source))
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, inbox); err != nil {
			t.Fatal(err)
		}
		ask("with-" + source)
		await("with-" + source + " 1")
		soon, stop := context.WithTimeout(t.Context(), 30*time.Second)
		readUntil(t, soon, broker.Bootstrap(), inbox, 1)
		stop()
		if n := dropped(); n != i+1 {
			t.Errorf("%d answers are dropped, not %d", n, i+1)
		}
		s.Close()
	}
	// A feed of one key by a sender that wants no answer is not slowed by that.
	s, err := p.Sender("feed")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begin := time.Now()
	const feed = 200
	for i := range feed {
		if err := s.Send(t.Context(), s.ToAgent("echo", &schemas.AgentControl{}, agents.ID(fmt.Sprint("feed-", i)), agents.Key("k"))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range feed {
		await(fmt.Sprint("feed-", i, " 1"))
	}
	t.Logf("%d messages of one key, whose answers are dropped, in %v", feed, time.Since(begin).Round(time.Millisecond))
}
