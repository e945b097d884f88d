package agents_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// An agent that does not know who works on what: that is data, and may change while
// it runs.
func ExampleRoutes() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := triage(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// no such agent: true
	// version 1
	// expert has crash
	// desk has timeout
}

func triage(ctx context.Context) (err error) {
	broker, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close(context.WithoutCancel(ctx))) }()
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: broker.Brokers(), Registry: broker.RegistryURL(), Register: true, Partitions: 1})
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	ended, running := make(chan error), 0
	defer func() {
		for stop(); running > 0; running-- {
			err = errors.Join(err, <-ended)
		}
	}()
	run := func(a *agents.Agent) error {
		w, err := p.Worker(a)
		if err != nil {
			return err
		}
		running++
		go func() { ended <- w.Run(working) }()
		<-w.Ready()
		return nil
	}

	heard := make(chan string)
	for _, name := range []string{"expert", "desk"} {
		a := agents.New(name, agents.Config{})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			heard <- name + " has " + m.Payload.Reason
			return nil
		})
		if err := run(a); err != nil {
			return err
		}
	}
	operator, err := p.Sender("operator")
	if err != nil {
		return err
	}
	defer operator.Close()
	to := func(agent string) []schemas.RouteDestination {
		return []schemas.RouteDestination{{To: "agent:" + agent}}
	}
	_, err = operator.ApplyRoutes(ctx, []schemas.Route{{Name: "all", Destinations: to("nobody")}}, "me", "")
	var unknown *agents.UnknownAgentError
	fmt.Println("no such agent:", errors.As(err, &unknown))
	version, err := operator.ApplyRoutes(ctx, []schemas.Route{
		{Name: "hard", Mode: "first", Priority: 1, Match: `kind == "command" || key == "urgent"`, Destinations: to("expert")},
		{Name: "rest", Destinations: to("desk")},
	}, "me", "")
	if err != nil {
		return err
	}
	fmt.Println("version", version)

	triage := agents.New("triage", agents.Config{})
	agents.Routes(triage)
	agents.On(triage, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		return m.Route(&m.Payload, agents.Key(m.Key))
	})
	if err := run(triage); err != nil {
		return err
	}
	for reason, key := range map[string]string{"crash": "urgent", "timeout": "later"} {
		if err := operator.Send(ctx, operator.ToAgent("triage", schemas.ErrorReply{Reason: reason}, agents.Key(key))); err != nil {
			return err
		}
	}
	one, other := <-heard, <-heard
	fmt.Println(max(one, other))
	fmt.Println(min(one, other))
	return nil
}
