package agents_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// TestAnAnswerWithoutAnInbox has a sender outside, without an inbox, ask an agent: the
// message is done at its first attempt, and the answer, whole or in parts, is dropped.
// Where a place is named, or an agent has sent the message, the answer is owed.
func TestAnAnswerWithoutAnInbox(t *testing.T) {
	t.Parallel()
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %v", exactlyOnce), func(t *testing.T) {
			t.Parallel()
			metrics, err := telemetry.New(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			c := streamtest.NewCluster(t)
			p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 1, Metrics: metrics})
			if err != nil {
				t.Fatal(err)
			}
			attempts := make(chan string, 10)
			echo := agents.New("echo", agents.Config{ExactlyOnce: exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Millisecond}, Attempts: 2}})
			agents.On(echo, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
				attempts <- fmt.Sprint(m.ID(), " ", m.Attempt)
				if m.Payload.Reason != "in parts" {
					return m.Reply(&schemas.Ack{Messageid: m.ID()})
				}
				parts, err := agents.Answering[schemas.Ack](ctx, m)
				if err != nil {
					return err
				}
				if err := parts.Send(schemas.Ack{Messageid: "first"}); err != nil {
					return err
				}
				return parts.End(schemas.Ack{Messageid: "last"})
			})
			start(t, p, echo)
			s, err := p.Sender("outside")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			send := func(id, reason string, opts ...agents.Option) {
				t.Helper()
				opts = append(opts, agents.ID(id), agents.Key(id))
				if err := s.Send(t.Context(), s.ToAgent("echo", &schemas.AgentControl{Reason: reason}, opts...)); err != nil {
					t.Fatal(err)
				}
			}
			send("a", "")
			send("b", "in parts")
			send("c", "", func(o *streaming.Outgoing) { o.Envelope.ReplyTo = "parley.replies.nobody" })
			send("d", "", func(o *streaming.Outgoing) { o.Envelope.CausationID = "an agent's" })
			send("e", "")
			want := []string{"a 1", "b 1", "c 1", "c 2", "d 1", "d 2", "e 1"}
			var got []string
			for range want {
				got = append(got, receive(t, attempts))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("attempts %q, want %q", got, want)
			}
			eventually(t, "four answers are dropped", func() bool {
				return testutil.ToFloat64(metrics.Replies("echo").Counter(telemetry.RepliesNoInbox)) == 4
			})
		})
	}
}

// TestAnAnswerWithoutAnInboxHoldsNobodyUp: exactly once the transaction of all lanes
// neither waits for it nor is aborted for it.
func TestAnAnswerWithoutAnInboxHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "parley.events.seen"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	var producers atomic.Int32
	fake.ControlKey(kmsg.InitProducerID.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if req.(*kmsg.InitProducerIDRequest).TransactionalID != nil {
			producers.Add(1)
		}
		return nil, nil, false
	})
	c := &streamtest.Cluster{Brokers: fake.ListenAddrs(), Schemas: schemas.NewMemoryRegistry()}
	metrics, err := telemetry.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 1, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	echo := agents.New("echo", agents.Config{ExactlyOnce: true})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		if m.Key == "answered" {
			return m.Reply(&schemas.Ack{Messageid: m.ID()})
		}
		return m.Publish("seen", &schemas.Ack{Messageid: m.ID()})
	})
	start(t, p, echo)
	s, err := p.Sender("outside")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	send := func(key string) {
		t.Helper()
		if err := s.Send(t.Context(), s.ToAgent("echo", &schemas.AgentControl{}, agents.Key(key))); err != nil {
			t.Fatal(err)
		}
	}
	seen := func() int { return len(c.ReadAll(t, "parley.events.seen")) }
	dropped := func() float64 { return testutil.ToFloat64(metrics.Replies("echo").Counter(telemetry.RepliesNoInbox)) }
	send("other")
	eventually(t, "a transaction is committed", func() bool { return seen() == 1 })
	before := producers.Load()
	send("answered")
	send("other")
	eventually(t, "another key goes on", func() bool { return seen() == 2 })
	if dropped() > 0 {
		t.Error("it had to wait for the answer") // which takes two seconds
	}
	eventually(t, "the answer is dropped", func() bool { return dropped() == 1 })
	send("answered") // behind it
	eventually(t, "the next is, too", func() bool { return dropped() == 2 })
	if n := producers.Load() - before; n > 0 {
		t.Errorf("%d transactions are aborted", n)
	}
}
