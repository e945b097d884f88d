package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
)

func TestAgentsPauseAndResume(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "echo", "--partitions", "2").ok(t)
	if out := runIn(t, s, "agents", "status").ok(t).stdout; out != "no agent is paused\n" {
		t.Errorf("before any pause: %q", out)
	}
	reg, err := schemas.NewRegistry(s.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	if out := runIn(t, s, "agents", "pause", "echo", "--reason", "the model's bill").ok(t).stdout; out != "paused agent echo\n" {
		t.Errorf("pause says %q", out)
	}
	var status struct{ Agents []controlReport }
	if err := json.Unmarshal([]byte(runIn(t, s, "agents", "status", "echo", "--json").ok(t).stdout), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Agents) != 1 {
		t.Fatalf("status %+v", status)
	}
	if r := status.Agents[0]; r.Group != "echo" || !r.Paused || r.Reason != "the model's bill" || r.By != operator() || time.Since(r.Since) > time.Minute {
		t.Errorf("status %+v", r)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: s.Brokers(), Schemas: reg})
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan string, 1)
	echo := agents.New("echo", agents.Config{})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		handled <- m.ID()
		return nil
	})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- platform.Run(running, echo) }()
	if _, err := reg.Register(ctx, schemas.ErrorReply{}.Schema()); err != nil {
		t.Fatal(err)
	}
	runIn(t, s, "send", "--to", "echo", "--type", "agent.error", "--payload", `{"reason":"unknown","message":"hello"}`, "--id", "n-1").ok(t)
	select {
	case id := <-handled:
		t.Errorf("a paused agent has handled %s", id)
	case <-time.After(500 * time.Millisecond):
	}
	runIn(t, s, "agents", "resume", "echo").ok(t)
	select {
	case <-handled:
	case <-time.After(10 * time.Second):
		t.Error("resumed, the agent handles nothing")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if out := runIn(t, s, "agents", "status").ok(t).stdout; !strings.Contains(out, "echo") || !strings.Contains(out, "not paused") {
		t.Errorf("after the resume:\n%s", out)
	}
}

func TestAgentsRefuses(t *testing.T) {
	s := server(t)
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitFailure, "there is no topic parley.inbox.nobody", []string{"agents", "pause", "nobody"}},
		{exitFailure, "there is no topic parley.inbox.nobody", []string{"agents", "status", "nobody"}},
		{exitUsage, "accepts 1 arg(s), received 0", []string{"agents", "pause"}},
		{exitUsage, `the name "Echo" may hold`, []string{"agents", "resume", "Echo"}},
		{exitUsage, "--group goes with an agent's name", []string{"agents", "status", "--group", "g"}},
	} {
		runIn(t, s, c.args...).failed(t, c.code, c.want)
	}
}
