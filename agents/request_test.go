package agents_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// asking is a platform with a requester on it.
type asking struct {
	*agents.Platform
	r       *agents.Requester
	metrics *telemetry.Metrics
}

func newAsking(t *testing.T) *asking {
	t.Helper()
	c := streamtest.NewCluster(t)
	reg := prometheus.NewRegistry()
	metrics, err := telemetry.New(reg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 3, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Requester(t.Context(), "asker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return &asking{p, r, metrics}
}

// answerer starts an agent that answers by a function.
func (a *asking) answerer(t *testing.T, name string, answer func(context.Context, *agents.Message[schemas.AgentControl]) error) {
	t.Helper()
	agent := agents.New(name, agents.Config{Retry: retry.Policy{Tiers: []time.Duration{20 * time.Millisecond}, Attempts: 2}})
	agents.On(agent, answer)
	a.run(t, agent)
}

// run starts an agent and waits until it is ready.
func (a *asking) run(t *testing.T, agent *agents.Agent) {
	t.Helper()
	w, err := a.Worker(agent)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
}

func echo(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
	return m.Reply(&schemas.Ack{Messageid: m.ID(), Mode: m.Payload.Reason})
}

func (a *asking) dropped(t *testing.T, why string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for testutil.ToFloat64(a.metrics.Replies("asker").Counter(why)) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("no answer was dropped as %s", why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRequest(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "echo", echo)
	for i := range 20 {
		want := fmt.Sprint("question ", i)
		got, err := agents.Request[schemas.Ack](t.Context(), a.r, "echo", schemas.AgentControl{Reason: want})
		if err != nil || got.Mode != want {
			t.Fatalf("answer %q, %v; want %q", got.Mode, err, want)
		}
	}
	// Asked again under its ID, a request is answered again and handled once.
	for range 2 {
		got, err := agents.Request[schemas.Ack](t.Context(), a.r, "echo", schemas.AgentControl{Reason: "same"}, agents.ID("own"), agents.Key("k"))
		if err != nil || got.Messageid != "own" {
			t.Fatalf("answer %v, %v", got, err)
		}
	}
}

func TestARequestsErrorsAreTyped(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "failing", func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		if m.Payload.Reason == "late" {
			<-time.After(300 * time.Millisecond)
			return echo(t.Context(), m)
		}
		return agents.Permanent(errors.New("cannot be done"))
	})
	_, err := agents.Request[schemas.Ack](t.Context(), a.r, "failing", schemas.AgentControl{})
	var failed *agents.RequestError
	if !errors.As(err, &failed) || failed.Reason != streaming.ReasonPermanent || !strings.Contains(failed.Text, "cannot be done") {
		t.Errorf("a dead request: %v", err)
	}
	// A type that the agent does not handle.
	_, err = agents.Request[schemas.Ack](t.Context(), a.r, "failing", schemas.Ack{})
	if !errors.As(err, &failed) || failed.Reason != streaming.ReasonNoHandler {
		t.Errorf("no handler: %v", err)
	}
	// An answer of another type.
	a.answerer(t, "echo", echo)
	_, err = agents.Request[schemas.ErrorReply](t.Context(), a.r, "echo", schemas.AgentControl{})
	var schema *schemas.SchemaError
	if !errors.As(err, &schema) {
		t.Errorf("another type: %v", err)
	}
	_, err = agents.Request[schemas.Ack](t.Context(), a.r, "nobody", schemas.AgentControl{})
	if !errors.Is(err, streaming.ErrUnknownTopic) {
		t.Errorf("no such agent: %v", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = agents.Request[schemas.Ack](ctx, a.r, "failing", schemas.AgentControl{Reason: "late"}, agents.Expires(time.Now().Add(time.Minute)))
	var none *agents.NoReplyError
	if !errors.As(err, &none) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer in time: %v", err)
	}
	a.dropped(t, "late")
}

func TestTheDeadlineTravels(t *testing.T) {
	a := newAsking(t)
	deadlines := make(chan time.Time, 1)
	a.answerer(t, "slow", func(ctx context.Context, _ *agents.Message[schemas.AgentControl]) error {
		at, _ := ctx.Deadline()
		deadlines <- at
		<-ctx.Done()
		return ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := agents.Request[schemas.Ack](ctx, a.r, "slow", schemas.AgentControl{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	want, _ := ctx.Deadline()
	if got := <-deadlines; got.Sub(want).Abs() > time.Millisecond {
		t.Errorf("the handler's deadline is %s, the request's %s", got, want)
	}
}

func TestGather(t *testing.T) {
	a := newAsking(t)
	for _, name := range []string{"one", "two"} {
		a.answerer(t, name, echo)
	}
	a.answerer(t, "never", func(ctx context.Context, _ *agents.Message[schemas.AgentControl]) error {
		return agents.Permanent(errors.New("no"))
	})
	all := []string{"one", "never", "two"}
	got, err := agents.Gather[schemas.Ack](t.Context(), a.r, all, 2, schemas.AgentControl{Reason: "who"})
	good := 0
	for _, g := range got {
		if g.Err == nil && g.Reply.Mode == "who" {
			good++
		}
	}
	if err != nil || good != 2 {
		t.Errorf("%d answers, %v", good, err)
	}
	_, err = agents.Gather[schemas.Ack](t.Context(), a.r, all, 3, schemas.AgentControl{Reason: "who"})
	var failed *agents.RequestError
	if !errors.As(err, &failed) || failed.Agent != "never" {
		t.Errorf("not enough: %v", err)
	}
}
