package agents_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Each group gets each event, once, and each that has handled it says so where the
// sender asks for that; one that filters it out says nothing.
func TestEachGroupGetsEachEvent(t *testing.T) {
	s := newStaffed(t)
	const events, groups = 30, 3
	var mu sync.Mutex
	heard := make(map[string]int) // by group and event
	acked := make(map[string]int) // by group, mode and event
	asker := agents.New("tester", agents.Config{})
	agents.On(asker, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
		mu.Lock()
		defer mu.Unlock()
		acked[m.Envelope.Source+" "+m.Payload.Mode+" "+m.Payload.Messageid]++
		return nil
	})
	s.start(t, asker)
	for g := range groups + 1 {
		name := fmt.Sprint("group-", g)
		a := agents.New(name, agents.Config{Streams: []string{"talk"}})
		where := "payload.message != ''"
		if g == groups {
			where = "payload.message == 'for nobody'"
		}
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			mu.Lock()
			defer mu.Unlock()
			heard[name+" "+m.ID()]++
			return nil
		}, agents.Where(where))
		for range 2 { // instances
			s.start(t, a)
		}
	}
	for i := range events {
		mode := []streaming.AckMode{streaming.AckDelivered, streaming.AckHandled}[i%2]
		if err := s.sender.Send(t.Context(), s.sender.ToStream("talk", &schemas.ErrorReply{Message: "hello"},
			agents.ID(fmt.Sprint("e", i)), agents.Key(fmt.Sprint(i%7)), agents.Ack(mode))); err != nil {
			t.Fatal(err)
		}
	}
	s.await(t, "each group has handled each event and said so", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(heard) == events*groups && len(acked) == events*groups
	})
	s.await(t, "the last group has skipped all", func() bool {
		return s.counted(t, "parley_skipped_total", "agent=group-3", "topic=parley.events.talk") == events
	})
	mu.Lock()
	defer mu.Unlock()
	for what, n := range heard {
		if n != 1 {
			t.Errorf("%s is handled %d times", what, n)
		}
	}
	for what, n := range acked {
		if n != 1 {
			t.Errorf("%s is acknowledged %d times", what, n)
		}
	}
}
