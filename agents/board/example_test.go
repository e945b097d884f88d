package board_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// A keeper, a proposal that is accepted, one that comes too late, and a view.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := embedded.Start(ctx, embedded.Config{}) // Kafka, in production
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = server.Close(context.Background()) }()
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: server.Brokers(), Schemas: schemas.NewMemoryRegistry()})
	if err != nil {
		log.Fatal(err)
	}
	prices := board.New[price]("prices")

	w, err := p.Worker(prices.Keeper(agents.Config{}))
	if err != nil {
		log.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			log.Print(err)
		}
	}()
	<-w.Ready()

	r, err := p.Requester(ctx, "shop")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	version, err := prices.CompareAndSet(ctx, r, "anvil", price{Cents: 900}, board.Absent)
	fmt.Println("version", version, err)
	_, err = prices.CompareAndSet(ctx, r, "anvil", price{Cents: 800}, board.Absent)
	var conflict *board.ConflictError[price]
	if errors.As(err, &conflict) {
		fmt.Println("somebody was faster:", conflict.Value.Cents, "at version", conflict.Current)
	}

	view, err := prices.Open(ctx, p)
	if err != nil {
		log.Fatal(err)
	}
	defer view.Close()
	version, err = prices.Update(ctx, r, view, "anvil", func(p price, _ bool) (price, error) {
		p.Cents -= 50
		return p, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := view.Wait(ctx, "anvil", version); err != nil { // to read one's own write
		log.Fatal(err)
	}
	p2, version, ok := view.Get("anvil")
	fmt.Println(p2.Cents, "at version", version, ok)
	// Output:
	// version 1 <nil>
	// somebody was faster: 900 at version 1
	// 850 at version 2 true
}

// A handler proposes, and its agent hears of the outcome as a message.
func ExampleBoard_Propose() {
	prices := board.New[price]("prices")
	a := agents.New("buyer", agents.Config{})
	agents.On(a, func(ctx context.Context, m *agents.Message[price]) error {
		return prices.Propose(ctx, m, "anvil", m.Payload, board.Any)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.BoardAnswer]) error {
		_, err := prices.Answer(ctx, m.Platform(), &m.Payload)
		var conflict *board.ConflictError[price]
		if errors.As(err, &conflict) {
			return prices.Propose(ctx, m, m.Key, conflict.Value, conflict.Current)
		}
		return err
	})
	fmt.Println(len(a.Types()), prices.Agent())
	// Output: 2 board-prices
}
