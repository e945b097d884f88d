//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/saga"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// TestRequestsPartsAndSagasOnKafka: requests that are waited for, answers in parts that
// are resumed, and sagas that are done or undone, while the workers are restarted.
func TestRequestsPartsAndSagasOnKafka(t *testing.T) {
	for name, exactlyOnce := range map[string]bool{"at least once": false, "exactly once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRequestsPartsAndSagas(t, exactlyOnce)
		})
	}
}

func testRequestsPartsAndSagas(t *testing.T, exactlyOnce bool) {
	broker, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	namespace := "patterns"
	if exactlyOnce {
		namespace = "patterns-once"
	}
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: []string{broker.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 3, Namespace: streaming.Namespace(namespace),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := agents.Config{ExactlyOnce: exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 3}}
	run := func(a *agents.Agent) (stop func()) {
		w, err := p.Worker(a)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		select {
		case <-w.Ready():
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Minute):
			t.Fatal("not ready")
		}
		return sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	speaker := agents.New("speaker", cfg)
	agents.On(speaker, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		parts, err := agents.Answering[schemas.Ack](ctx, m)
		if err != nil {
			return err
		}
		for len(parts.Sent()) < 5 {
			if err := parts.Send(schemas.Ack{Messageid: fmt.Sprint(len(parts.Sent())), Mode: fmt.Sprint(m.Attempt)}); err != nil {
				return err
			}
			if len(parts.Sent()) == 3 && m.Attempt == 1 {
				return errors.New("in mid-answer")
			}
		}
		return parts.End(schemas.Ack{Messageid: "5", Mode: fmt.Sprint(m.Attempt)})
	})
	booker := agents.New("booker", cfg)
	var mu sync.Mutex
	booked := make(map[string]string) // by key: what was done, in order
	agents.On(booker, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		if m.Payload.Reason == "second" && strings.HasSuffix(m.Key, "3") {
			return agents.Permanent(errors.New("there is none"))
		}
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasSuffix(booked[m.Key], m.Payload.Reason+" ") { // at least once a handler may run again
			booked[m.Key] += m.Payload.Reason + " "
		}
		return m.Reply(&schemas.Ack{Mode: m.Payload.Reason})
	})
	traveller := func() *agents.Agent {
		a := agents.New("traveller", cfg)
		ask := func(what string) func(schemas.Ack) schemas.Message {
			return func(schemas.Ack) schemas.Message { return schemas.AgentControl{Reason: what} }
		}
		took := func(*schemas.Ack, schemas.Ack) error { return nil }
		g := saga.New(a, "trip", saga.Config{Timeout: time.Minute}, func(_ context.Context, m *saga.Ended[schemas.Ack]) error {
			end := "done"
			if m.Err != nil {
				end = "undone"
			}
			return m.Reply(&schemas.Ack{Mode: end})
		}, saga.Compensate[schemas.Ack](saga.Do("first", "booker", ask("first"), took), ask("unfirst")), saga.Do("second", "booker", ask("second"), took))
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
			return g.Start(ctx, m, schemas.Ack{})
		})
		return a
	}
	defer run(speaker)()
	defer run(booker)()
	stop := run(traveller())
	defer func() { stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := p.Requester(ctx, "asker")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	var got []string
	var third string
	for part, err := range agents.Stream[schemas.Ack](ctx, r, "speaker", schemas.AgentControl{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part.Payload.Messageid+" of run "+part.Payload.Mode)
		if part.Sequence == 3 {
			third = part.Position
		}
	}
	want := []string{"0 of run 1", "1 of run 1", "2 of run 1", "3 of run 2", "4 of run 2", "5 of run 2"}
	if !slices.Equal(got, want) {
		t.Errorf("parts %q, want %q", got, want)
	}
	got = nil
	for part, err := range agents.Resume[schemas.Ack](ctx, r, "speaker", third) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part.Payload.Messageid+" of run "+part.Payload.Mode)
	}
	if !slices.Equal(got, want[3:]) {
		t.Errorf("behind the third part %q, want %q", got, want[3:])
	}

	const trips = 40
	var waiting sync.WaitGroup
	for i := range trips {
		key, end, done := fmt.Sprint("trip-", i), "done", "first second "
		if i%10 == 3 {
			end, done = "undone", "first unfirst "
		}
		waiting.Go(func() {
			got, err := agents.Request[schemas.Ack](ctx, r, "traveller", schemas.AgentControl{}, agents.Key(key))
			if err != nil || got.Mode != end {
				t.Errorf("%s: %s, %v; want %s", key, got.Mode, err, end)
			}
			mu.Lock()
			defer mu.Unlock()
			if booked[key] != done {
				t.Errorf("%s: %s, want %s", key, booked[key], done)
			}
		})
		if i%10 == 9 { // another instance goes on
			next := run(traveller())
			stop()
			stop = next
		}
	}
	waiting.Wait()
}
