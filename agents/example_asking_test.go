package agents_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
)

// Outside a handler: ask and wait. What comes back is the answer or a typed error.
func ExampleRequest() {
	asked(func(ctx context.Context, r *agents.Requester) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // travels with the request
		defer cancel()
		offer, err := agents.Request[shopOffer](ctx, r, "smith", shopOrder{Item: "anvil"})
		fmt.Println(offer.By, offer.Cents, err)
		_, err = agents.Request[shopOffer](ctx, r, "smith", shopOffer{}) // which it does not handle
		var failed *agents.RequestError
		if errors.As(err, &failed) {
			fmt.Println(failed.Agent, "says", failed.Reason)
		}
	}, seller("smith", 900))
	// Output:
	// smith 900 <nil>
	// smith says no_handler
}

// In a handler: ask, save what has to be remembered, and end. It goes on when the
// answer has come, after a restart too, and answers whoever has asked first.
func ExampleOnAnswer() {
	shop := agents.New("shop", agents.Config{})
	price := agents.OnAnswer(shop, "price", func(_ context.Context, m *agents.Answered[shopOffer, shopOrder]) error {
		offer, err := m.Answer()
		if err != nil {
			return err
		}
		fmt.Println("the shop has a price for", m.Payload.Item)
		return m.Reply(shopOffer{By: "shop", Cents: offer.Cents + 100})
	})
	agents.On(shop, func(ctx context.Context, m *agents.Message[shopOrder]) error {
		return price.Ask(ctx, m, "smith", m.Payload, m.Payload)
	})
	asked(func(ctx context.Context, r *agents.Requester) {
		offer, err := agents.Request[shopOffer](ctx, r, "shop", shopOrder{Item: "anvil"})
		fmt.Println(offer.Cents, err)
	}, seller("smith", 900), shop)
	// Output:
	// the shop has a price for anvil
	// 1000 <nil>
}

// Scatter and gather: several are asked at once; here the shop goes on when all have
// answered, or at the deadline.
func ExampleQuestion_AskAll() {
	sellers := []string{"smith", "forge", "market"}
	shop := agents.New("shop", agents.Config{})
	prices := agents.OnAnswer(shop, "prices", func(_ context.Context, m *agents.Answered[shopOffer, shopOrder]) error {
		best := shopOffer{Cents: 1 << 40}
		for _, a := range m.Answers {
			if a.Err == nil && a.Reply.Cents < best.Cents { // Err: it could not, or has not in time
				best = a.Reply
			}
		}
		return m.Reply(best)
	})
	agents.On(shop, func(ctx context.Context, m *agents.Message[shopOrder]) error {
		return prices.AskAll(ctx, m, sellers, len(sellers), m.Payload, m.Payload, agents.Expires(time.Now().Add(10*time.Second)))
	})
	asked(func(ctx context.Context, r *agents.Requester) {
		offer, err := agents.Request[shopOffer](ctx, r, "shop", shopOrder{Item: "anvil"})
		fmt.Println(offer.By, offer.Cents, err)
	}, seller("smith", 900), seller("forge", 700), seller("market", 800), shop)
	// Output: forge 700 <nil>
}

// An answer in parts, each durable when Send returns. A run that follows a crash goes
// on behind what was sent.
func ExampleAnswering() {
	auction := agents.New("auction", agents.Config{})
	agents.On(auction, func(ctx context.Context, m *agents.Message[shopOrder]) error {
		parts, err := agents.Answering[shopOffer](ctx, m)
		if err != nil {
			return err
		}
		for len(parts.Sent()) < 3 {
			if err := parts.Send(shopOffer{Cents: 500 + 100*int64(len(parts.Sent()))}); err != nil {
				return err
			}
		}
		return parts.End(shopOffer{By: "smith", Cents: 800})
	})
	asked(func(ctx context.Context, r *agents.Requester) {
		for part, err := range agents.Stream[shopOffer](ctx, r, "auction", shopOrder{Item: "anvil"}) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(part.Sequence, part.Payload.Cents, part.Last)
		}
	}, auction)
	// Output:
	// 1 500 false
	// 2 600 false
	// 3 700 false
	// 4 800 true
}

// Who reads an answer in parts may go on from a part's position: in another process,
// and after its own end.
func ExampleResume() {
	counter := agents.New("counter", agents.Config{})
	agents.On(counter, func(ctx context.Context, m *agents.Message[shopOrder]) error {
		parts, err := agents.Answering[shopOffer](ctx, m)
		if err != nil {
			return err
		}
		for _, by := range []string{"one", "two"}[len(parts.Sent()):] {
			if err := parts.Send(shopOffer{By: by}); err != nil {
				return err
			}
		}
		return parts.End(shopOffer{By: "three"})
	})
	asked(func(ctx context.Context, r *agents.Requester) {
		var behind string
		for part, err := range agents.Stream[shopOffer](ctx, r, "counter", shopOrder{}) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(part.Payload.By)
			behind = part.Position
			break
		}
		for part, err := range agents.Resume[shopOffer](ctx, r, "counter", behind) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println("resumed:", part.Payload.By)
		}
	}, counter)
	// Output:
	// one
	// resumed: two
	// resumed: three
}
