package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// TestSendWait asks a running agent and gets its answer, its error, or none in time.
func TestSendWait(t *testing.T) {
	s := server(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	reg, err := schemas.NewRegistry(s.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: s.Brokers(), Schemas: reg, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	echo := agents.New("echo", agents.Config{})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		switch m.Payload.Message {
		case "silent":
			return nil
		case "broken":
			return agents.Permanent(errors.New("it cannot be done"))
		}
		return m.Reply(&schemas.Ack{Messageid: m.ID(), Source: string(m.Envelope.Kind), Mode: m.Key + " " + m.Envelope.CorrelationID})
	})
	worker, err := platform.Worker(echo)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	select {
	case <-worker.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	if _, err := reg.Register(ctx, schemas.ErrorReply{}.Schema()); err != nil {
		t.Fatal(err)
	}
	ask := func(message string, more ...string) result {
		t.Helper()
		payload := `{"reason":"unknown","message":"` + message + `"}`
		return runIn(t, s, append([]string{"send", "--to", "echo", "--type", "agent.error", "--payload", payload}, more...)...)
	}
	if got, want := ask("a", "--id", "n-1", "--key", "k", "--correlation", "talk", "--wait", "30s").ok(t).stdout,
		`{"messageid":"n-1","mode":"k talk","source":"request"}`+"\n"; got != want {
		t.Errorf("the answer is %s, want %s", got, want)
	}
	if got, want := ask("a", "--id", "n-2", "--json", "--wait", "30s").ok(t).stdout,
		`{"id":"n-2","schema":"parley.Ack","payload":{"messageid":"n-2","mode":"n-2 n-2","source":"request"}}`+"\n"; got != want {
		t.Errorf("the answer is %s, want %s", got, want)
	}
	ask("broken", "--wait", "30s").failed(t, exitFailure, "echo cannot answer (permanent): it cannot be done")
	ask("silent", "--wait", "300ms").failed(t, exitFailure, "no answer of echo in time")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
