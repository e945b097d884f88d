package agents_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// An order goes to whoever takes orders and is there.
func ExampleDirectory() {
	done := make(chan struct{})
	surveyor := agents.New("surveyor", agents.Config{Version: "v2"})
	agents.On(surveyor, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		fmt.Println(m.Envelope.Recipient, "takes it")
		close(done)
		return nil
	})
	planner := agents.New("planner", agents.Config{})
	agents.On(planner, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		return m.SendTo(agents.Capable("agent.control"), &schemas.AgentControl{})
	})
	together(func(ctx context.Context, p *agents.Platform, s *agents.Sender) {
		directory, err := agents.Directory(ctx, p)
		if err != nil {
			log.Fatal(err)
		}
		defer directory.Close()
		for {
			if agent, err := directory.Pick(ctx, "agent.control", "any key"); err == nil {
				fmt.Println(agent, "is there")
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		_, err = directory.Pick(ctx, "survey.order", "any key")
		var nobody *agents.NoAgentError
		fmt.Println(errors.As(err, &nobody))
		if err := s.Send(ctx, s.ToAgent("planner", &schemas.ErrorReply{})); err != nil {
			log.Fatal(err)
		}
		<-done
	}, surveyor, planner)
	// Output:
	// surveyor is there
	// true
	// surveyor takes it
}

// A handler of strong quakes only.
func ExampleWhere() {
	done := make(chan struct{})
	warner := agents.New("warner", agents.Config{Streams: []string{"quakes"}})
	agents.On(warner, func(_ context.Context, m *agents.Message[quake.Reported]) error {
		fmt.Println(m.Payload.Place)
		close(done)
		return nil
	}, agents.Where("has(payload.magnitude) && payload.magnitude >= 5.0"))
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		weak, strong := 3.1, 6.4
		for _, q := range []quake.Reported{{Place: "unknown"}, {Place: "Crete", Magnitude: &weak}, {Place: "Fiji", Magnitude: &strong}} {
			q.Eventid, q.Time = q.Place, time.UnixMilli(1700000000000)
			if err := s.Send(ctx, s.ToStream("quakes", &q, agents.Key("k"))); err != nil {
				log.Fatal(err)
			}
		}
		<-done
	}, warner)
	// Output: Fiji
}
