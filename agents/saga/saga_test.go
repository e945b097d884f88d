package saga_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/saga"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// provider books and cancels, unless its name is among those that fail.
type provider struct {
	mu    sync.Mutex
	calls []string // in order
	tries map[string]int
}

func (p *provider) called(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, what)
	if p.tries == nil {
		p.tries = make(map[string]int)
	}
	p.tries[what]++
	return p.tries[what]
}

func (p *provider) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.tries = nil, nil
}

func (p *provider) agent(name string) *agents.Agent {
	a := agents.New(name, agents.Config{Retry: retry.Policy{Tiers: []time.Duration{10 * time.Millisecond}, Attempts: 1}})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		what := m.Payload.Reason
		n := p.called(what)
		switch fail := m.Payload.By; {
		case strings.Contains(fail, "cannot "+what+";"):
			return agents.Permanent(errors.New("cannot"))
		case strings.Contains(fail, "silent "+what+";"):
			return nil
		case strings.Contains(fail, "twice "+what+";") && n < 3:
			return agents.Permanent(errors.New("not yet"))
		}
		return m.Reply(&schemas.Ack{Mode: what})
	})
	return a
}

// trip books a flight, a seat that nobody has to give back, and a room.
func trip(cfg saga.Config) *agents.Agent {
	a := agents.New("trip", agents.Config{})
	ask := func(what string) func(schemas.AgentControl) schemas.Message {
		return func(s schemas.AgentControl) schemas.Message { return schemas.AgentControl{Reason: what, By: s.By} }
	}
	note := func(s *schemas.AgentControl, ack schemas.Ack) error {
		s.Reason += ack.Mode + ";"
		if strings.Contains(s.By, "refused "+ack.Mode+";") {
			return saga.Refuse(errors.New("too dear"))
		}
		return nil
	}
	g := saga.New(a, "trip", cfg, func(_ context.Context, m *saga.Ended[schemas.AgentControl]) error {
		text := "done"
		if m.Err != nil {
			text = m.Err.Error()
		}
		return m.Reply(&schemas.Ack{Messageid: m.ID(), Source: m.State.Reason, Mode: text})
	},
		saga.Compensate[schemas.Ack](saga.Do("flight", "airline", ask("fly"), note), ask("unfly")),
		saga.Do("seat", "airline", ask("sit"), note),
		saga.Compensate[schemas.Ack](saga.Do("room", "hotel", ask("sleep"), note), ask("wake")),
	)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		return g.Start(ctx, m, m.Payload)
	})
	return a
}

// travelling runs the agents of a trip, and returns who asks for one.
func travelling(t *testing.T, made *provider, cfg saga.Config) *agents.Requester {
	t.Helper()
	c := streamtest.NewCluster(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*agents.Agent{made.agent("airline"), made.agent("hotel"), trip(cfg)} {
		w, err := p.Worker(a)
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
		<-w.Ready()
	}
	r, err := p.Requester(t.Context(), "traveller")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestSaga(t *testing.T) {
	var made provider
	r := travelling(t, &made, saga.Config{Timeout: time.Second, UndoAttempts: 3, UndoPause: 20 * time.Millisecond})
	for _, c := range []struct{ fail, want, state, calls string }{
		{"", "done", "fly;sit;sleep;", "fly sit sleep"},
		{"cannot sleep;", "step room failed: hotel cannot answer (permanent): cannot", "fly;sit;", "fly sit sleep unfly"},
		{"cannot fly;", "step flight failed: airline cannot answer (permanent): cannot", "", "fly"},
		{"silent sleep;", "step room failed: no answer of hotel in time", "fly;sit;", "fly sit sleep wake unfly"},
		{"refused sleep;", "step room failed: refused: too dear", "fly;sit;", "fly sit sleep wake unfly"},
		{"cannot sleep;twice unfly;", "step room failed", "fly;sit;", "fly sit sleep unfly unfly unfly"},
		{"cannot sleep;cannot unfly;", "not undone: [flight]", "fly;sit;", "fly sit sleep unfly unfly unfly"},
	} {
		made.reset()
		got, err := agents.Request[schemas.Ack](t.Context(), r, "trip", schemas.AgentControl{By: c.fail})
		if err != nil {
			t.Fatalf("%s: %v", c.fail, err)
		}
		made.mu.Lock()
		calls := strings.Join(made.calls, " ")
		made.mu.Unlock()
		if !strings.Contains(got.Mode, c.want) || got.Source != c.state || calls != c.calls {
			t.Errorf("%q: %+v after %s, want %s after %s", c.fail, got, calls, c.want, c.calls)
		}
	}
}

// A saga is undone though its conversation has reached its deadline.
func TestUndoingOutlastsTheDeadline(t *testing.T) {
	var made provider
	r := travelling(t, &made, saga.Config{Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := agents.Request[schemas.Ack](ctx, r, "trip", schemas.AgentControl{By: "silent sleep;"})
	var none *agents.NoReplyError
	if !errors.As(err, &none) {
		t.Fatalf("the trip has not run out of time: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		made.mu.Lock()
		calls := strings.Join(made.calls, " ")
		made.mu.Unlock()
		if calls == "fly sit sleep wake unfly" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("calls: %s", calls)
		}
	}
}

func TestASagaHasSteps(t *testing.T) {
	a := agents.New("empty", agents.Config{})
	saga.New[schemas.Ack](a, "none", saga.Config{}, nil)
	c := streamtest.NewCluster(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Worker(a); err == nil || !strings.Contains(err.Error(), "saga none has no steps") {
		t.Error(err)
	}
}
