package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/saga"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// A flight is booked, the room cannot be: the flight is given back.
func Example() {
	ask := func(what string) func(schemas.AgentControl) schemas.Message {
		return func(schemas.AgentControl) schemas.Message { return schemas.AgentControl{Reason: what} }
	}
	took := func(s *schemas.AgentControl, answer schemas.Ack) error {
		s.Reason += answer.Mode + "; "
		return nil
	}
	a := agents.New("agency", agents.Config{})
	trip := saga.New(a, "trip", saga.Config{}, func(_ context.Context, m *saga.Ended[schemas.AgentControl]) error {
		if m.Err != nil {
			return m.Reply(&schemas.Ack{Mode: m.Err.Error()})
		}
		return m.Reply(&schemas.Ack{Mode: m.State.Reason})
	},
		saga.Compensate[schemas.Ack](saga.Do("flight", "airline", ask("book the flight"), took), ask("cancel the flight")),
		saga.Compensate[schemas.Ack](saga.Do("room", "hotel", ask("book the room"), took), ask("cancel the room")),
	)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		return trip.Start(ctx, m, schemas.AgentControl{})
	})

	provider := func(name string, full bool) *agents.Agent {
		p := agents.New(name, agents.Config{})
		agents.On(p, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
			fmt.Println(name+":", m.Payload.Reason)
			if full {
				return agents.Permanent(errors.New("no room is free"))
			}
			return m.Reply(&schemas.Ack{Mode: m.Payload.Reason})
		})
		return p
	}
	run(func(ctx context.Context, r *agents.Requester) {
		answer, err := agents.Request[schemas.Ack](ctx, r, "agency", schemas.AgentControl{})
		fmt.Println(answer.Mode, err)
	}, provider("airline", false), provider("hotel", true), a)
	// Output:
	// airline: book the flight
	// hotel: book the room
	// airline: cancel the flight
	// step room failed: hotel cannot answer (permanent): no room is free <nil>
}

// run runs agents on a broker in this process until the function returns.
func run(do func(ctx context.Context, r *agents.Requester), all ...*agents.Agent) {
	ctx, stop := context.WithCancel(context.Background())
	broker, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = broker.Close(context.Background()) }()
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: broker.Brokers(), Registry: broker.RegistryURL(), Register: true})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, len(all))
	for _, a := range all {
		w, err := p.Worker(a)
		if err != nil {
			log.Fatal(err)
		}
		go func() { ended <- w.Run(ctx) }()
		<-w.Ready()
	}
	r, err := p.Requester(ctx, "traveller")
	if err != nil {
		log.Fatal(err)
	}
	do(ctx, r)
	r.Close()
	stop()
	for range all {
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
}
