package agents_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestPatternsOfTypes(t *testing.T) {
	t.Parallel()
	p := connect(t, streamtest.NewCluster(t))
	came := make(chan string, 10)
	a := agents.New("reader", agents.Config{Streams: []string{"all"}, Retry: once})
	agents.On(a, func(_ context.Context, m *agents.Message[quake.Dispatch]) error {
		came <- "own " + m.Envelope.Type
		return nil
	})
	say := func(pattern string) {
		agents.OnAny(a, pattern, func(_ context.Context, m *agents.Message[agents.Any]) error {
			came <- fmt.Sprint(pattern, " ", m.Payload.Name, " ", m.Payload.Value.(map[string]any)["reason"])
			return nil
		})
	}
	say("agent.*")
	say("*")
	start(t, p, a)
	s, err := p.Sender("writer")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(t.Context(),
		s.ToStream("all", &quake.Dispatch{}, agents.Key("k")),
		s.ToStream("all", &schemas.AgentControl{Reason: "r"}, agents.Key("k")),
		s.ToStream("all", &quake.Alert{}, agents.Key("k")),
	); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 3 {
		got = append(got, receive(t, came))
	}
	want := []string{"own quake.dispatch", "agent.* parley.AgentControl r", "* parley.quake.Alert <nil>"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPatternsAreChecked(t *testing.T) {
	t.Parallel()
	p := connect(t, streamtest.NewCluster(t))
	for _, pattern := range []string{"quake*", "quake.*.more", "a b.*", ""} {
		a := agents.New("reader", agents.Config{})
		agents.OnAny(a, pattern, func(context.Context, *agents.Message[agents.Any]) error { return nil })
		if _, err := p.Worker(a); err == nil || !strings.Contains(err.Error(), "type") {
			t.Errorf("pattern %q: %v", pattern, err)
		}
	}
}
