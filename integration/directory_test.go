//go:build integration

package integration

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// TestDirectoryOnKafka finds an agent by what it takes, sends to it with a budget that
// does or does not last, and has it begin at the end of a stream and hear what its
// filter lets through, while another hears all types.
func TestDirectoryOnKafka(t *testing.T) {
	for _, protocol := range []kafka.GroupProtocol{kafka.ProtocolClassic, kafka.ProtocolConsumer} {
		t.Run(string(protocol), func(t *testing.T) { testDirectoryOnKafka(t, protocol) })
	}
}

func testDirectoryOnKafka(t *testing.T, protocol kafka.GroupProtocol) {
	broker, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: []string{broker.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 3, Namespace: streaming.Namespace("directory-" + string(protocol)),
	})
	if err != nil {
		t.Fatal(err)
	}
	start := func(a *agents.Agent) (stop func()) {
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
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	heard := make(chan string, 100)
	listener := func() *agents.Agent {
		a := agents.New("listener", agents.Config{Streams: []string{"talk"}, From: worker.FromEnd, GroupProtocol: protocol, Lease: 3 * time.Second})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			heard <- m.Payload.Message
			return nil
		}, agents.Where("payload.reason == 'yes'"))
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
			unit, left, _ := m.Budget()
			if unit != "cents" || left != 7.5 {
				t.Errorf("%v %s are left", left, unit)
			}
			heard <- "order"
			return m.Charge(7.5)
		})
		return a
	}
	planner := agents.New("planner", agents.Config{})
	agents.On(planner, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if err := m.SendTo(agents.Capable("agent.control"), &schemas.AgentControl{}); err != nil {
			return err
		}
		return m.Charge(5)
	})
	other := agents.New("other", agents.Config{Streams: []string{"talk"}}) // so that the stream is there
	agents.On(other, func(context.Context, *agents.Message[schemas.ErrorReply]) error { return nil })
	defer start(other)()
	var all atomic.Int64
	archive := agents.New("archive", agents.Config{Streams: []string{"talk"}, GroupProtocol: protocol})
	agents.OnAny(archive, "*", func(_ context.Context, m *agents.Message[agents.Any]) error {
		if text := m.Payload.Value.(map[string]any)["message"]; text == "" || m.Payload.Name != "parley.ErrorReply" {
			t.Errorf("the archive has a %s that says %q", m.Payload.Name, text)
		}
		all.Add(1)
		return nil
	})
	defer start(archive)()
	defer start(planner)()
	sender, err := p.Sender("desk")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	say := func(reason, text string) {
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			if err := sender.Send(t.Context(), sender.ToStream("talk", &schemas.ErrorReply{Reason: reason, Message: text}, agents.Key(key))); err != nil {
				t.Fatal(err)
			}
		}
	}
	hear := func(text string, n int) {
		t.Helper()
		for range n {
			select {
			case got := <-heard:
				if got != text {
					t.Fatalf("heard %s, want %s", got, text)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("%s is not heard", text)
			}
		}
	}
	say("yes", "before")
	stop := start(listener())
	say("no", "filtered")
	say("yes", "first")
	hear("first", 5)
	stop()
	say("yes", "away")
	stop = start(listener())
	hear("away", 5)
	for deadline := time.Now().Add(30 * time.Second); all.Load() < 20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the archive has heard %d of 20", all.Load())
		}
	}

	d, err := agents.Directory(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	await := func(what string, so func(agent string, err error) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			agent, err := d.Pick(t.Context(), "agent.control", "k")
			if so(agent, err) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("never: %s: %s, %v", what, agent, err)
			}
		}
	}
	await("the listener is there", func(agent string, err error) bool { return err == nil && agent == "listener" })
	time.Sleep(100 * time.Millisecond) // the planner's own view is as far
	if err := sender.Send(t.Context(), sender.ToAgent("planner", &schemas.ErrorReply{}, agents.Budget("cents", 12.5))); err != nil {
		t.Fatal(err)
	}
	hear("order", 1)
	r, err := p.Requester(t.Context(), "asker")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var refused *agents.RequestError
	if _, err := agents.Request[schemas.Ack](t.Context(), r, "planner", &schemas.ErrorReply{}, agents.Budget("cents", 4)); !errors.As(err, &refused) || refused.Reason != streaming.ReasonPolicy {
		t.Errorf("a request that costs more than its budget: %v", err)
	}
	stop()
	await("the listener has gone", func(_ string, err error) bool {
		var nobody *agents.NoAgentError
		return errors.As(err, &nobody)
	})
}
