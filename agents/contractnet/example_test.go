package contractnet_test

import (
	"context"
	"fmt"
	"math"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// A team bids by its way to the site, and refuses what is too far.
func team(name string, at float64) *agents.Agent {
	a := agents.New(name, agents.Config{})
	contractnet.Bid(a, "visit", func(_ context.Context, c *contractnet.Call[site]) (contractnet.Offer, error) {
		way := math.Abs(c.Task.Km - at)
		if way > 500 {
			return contractnet.Refuse("too far"), nil
		}
		return contractnet.Cost(way), nil
	}, func(_ context.Context, j *contractnet.Job[site]) (visit, error) {
		if name == "north" {
			return visit{}, &contractnet.FailedError{Reason: "the road is closed"}
		}
		return visit{By: name}, nil // j.ID() is the idempotency key of what is done elsewhere
	})
	return a
}

// Three teams negotiate who visits a site. The nearest gets the task and fails; the
// next does it.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	server, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Close(context.Background()) }()
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: server.Brokers(), Registry: server.RegistryURL(), Register: true})
	if err != nil {
		fmt.Println(err)
		return
	}

	office := agents.New("office", agents.Config{})
	over := make(chan struct{})
	visits := contractnet.Manage(office, "visit", contractnet.Config{}, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		for _, b := range c.Bids {
			fmt.Printf("%s %v: %s %q\n", b.Agent, b.Cost, b.Award, b.Failure)
		}
		fmt.Println(c.Task.Place, "is visited by", c.Result.By, c.Err)
		close(over)
		return nil
	})
	agents.On(office, func(ctx context.Context, m *agents.Message[site]) error {
		_, err := visits.Call(ctx, m, m.Payload, []string{"north", "south", "islands"})
		return err
	})

	ended := make(chan error)
	all := []*agents.Agent{team("north", 900), team("south", 600), team("islands", 3000), office}
	for _, a := range all {
		w, err := p.Worker(a)
		if err != nil {
			fmt.Println(err)
			return
		}
		go func() { ended <- w.Run(ctx) }()
		<-w.Ready()
	}
	sender, err := p.Sender("duty")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close()
	if err := sender.Send(ctx, sender.ToAgent("office", &site{Place: "Palu", Km: 1000})); err != nil {
		fmt.Println(err)
		return
	}
	<-over
	stop()
	for range all {
		if err := <-ended; err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// north 100: failed "the road is closed"
	// south 400: done ""
	// Palu is visited by south <nil>
}
