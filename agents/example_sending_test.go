package agents_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
)

// A direct message: for exactly one agent, which need not run when it is sent.
func ExampleSender() {
	done := make(chan struct{})
	smith := agents.New("smith", agents.Config{})
	agents.On(smith, func(_ context.Context, m *agents.Message[shopOrder]) error {
		defer close(done)
		fmt.Println(m.Envelope.Source, "wants", m.Payload.Item)
		return nil
	})
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		if err := s.Send(ctx, s.ToAgent("smith", shopOrder{Item: "anvil"})); err != nil {
			log.Fatal(err)
		}
		<-done
	}, smith)
	// Output: desk wants anvil
}

// An event for whoever listens: each group gets it, and none knows of the others.
func ExampleMessage_Publish() {
	heard := make(chan string)
	listener := func(name string) *agents.Agent {
		a := agents.New(name, agents.Config{Streams: []string{"offers"}})
		agents.On(a, func(_ context.Context, m *agents.Message[shopOffer]) error {
			heard <- fmt.Sprint(name, " hears ", m.Payload.Cents)
			return nil
		})
		return a
	}
	smith := agents.New("smith", agents.Config{})
	agents.On(smith, func(_ context.Context, m *agents.Message[shopOrder]) error {
		return m.Publish("offers", shopOffer{By: "smith", Cents: 900})
	})
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		if err := s.Send(ctx, s.ToAgent("smith", shopOrder{})); err != nil {
			log.Fatal(err)
		}
		for range 2 {
			fmt.Println(<-heard)
		}
	}, listener("ledger"), listener("news"), smith)
	// Unordered output:
	// ledger hears 900
	// news hears 900
}

// A handler of all types that begin with "shop.", decoded by their writers' schemas.
func ExampleOnAny() {
	seen := make(chan string)
	archive := agents.New("archive", agents.Config{Streams: []string{"shop"}})
	agents.OnAny(archive, "shop.*", func(_ context.Context, m *agents.Message[agents.Any]) error {
		seen <- fmt.Sprint(m.Envelope.Type, " ", m.Payload.Value)
		return nil
	})
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		k := agents.Key("anvil") // one key: in order
		if err := s.Send(ctx, s.ToStream("shop", shopOrder{Item: "anvil"}, k), s.ToStream("shop", shopOffer{By: "smith", Cents: 900}, k)); err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-seen)
		fmt.Println(<-seen)
	}, archive)
	// Output:
	// shop.order map[item:anvil]
	// shop.offer map[by:smith cents:900]
}

// A sum for each key, changed once by each message, through crashes and rebalances.
func ExampleState() {
	sums := make(chan int64)
	till := agents.New("till", agents.Config{})
	total := agents.Keep[shopOffer](till, "total")
	agents.On(till, func(ctx context.Context, m *agents.Message[shopOffer]) error {
		sum, _, err := total.Get(ctx, m) // of m's key
		if err != nil {
			return err
		}
		sum.Cents += m.Payload.Cents
		sums <- sum.Cents
		return total.Set(ctx, m, sum)
	})
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		for _, sale := range []struct {
			item  string
			cents int64
		}{{"anvil", 900}, {"anvil", 50}, {"hammer", 20}} {
			if err := s.Send(ctx, s.ToAgent("till", shopOffer{Cents: sale.cents}, agents.Key(sale.item))); err != nil {
				log.Fatal(err)
			}
			fmt.Println(sale.item, <-sums)
		}
	}, till)
	// Output:
	// anvil 900
	// anvil 950
	// hammer 20
}

// A routing slip: the message says whom it visits, none of them knows the next.
func ExampleMessage_Pass() {
	seen := make(chan string)
	station := func(name string) *agents.Agent {
		a := agents.New(name, agents.Config{})
		agents.On(a, func(_ context.Context, m *agents.Message[shopOrder]) error {
			next, err := m.Pass(shopOrder{Item: m.Payload.Item + ", " + name})
			if err == nil && next == "" {
				seen <- m.Payload.Item + ", " + name // the slip's end
			}
			return err
		})
		return a
	}
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		if err := s.Send(ctx, s.ToAgent("forged", shopOrder{Item: "anvil"}, agents.Via("ground", "packed"))); err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-seen)
	}, station("forged"), station("ground"), station("packed"))
	// Output: anvil, forged, ground, packed
}

// A message for later, to the agent itself: it waits in Kafka, not in a timer.
func ExampleDeliverAt() {
	done := make(chan struct{})
	smith := agents.New("smith", agents.Config{})
	agents.On(smith, func(_ context.Context, m *agents.Message[shopOrder]) error {
		return m.Send("smith", shopOffer{}, agents.DeliverAt(time.Now().Add(300*time.Millisecond)))
	})
	agents.On(smith, func(_ context.Context, m *agents.Message[shopOffer]) error {
		defer close(done)
		fmt.Println("early:", time.Now().Before(m.Envelope.DeliverAt))
		return nil
	})
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		if err := s.Send(ctx, s.ToAgent("smith", shopOrder{Item: "anvil"})); err != nil {
			log.Fatal(err)
		}
		<-done
	}, smith)
	// Output: early: false
}
