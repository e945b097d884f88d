package agents_test

import (
	"context"
	"log"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// together runs agents on a broker in this process until the function returns.
func together(do func(ctx context.Context, p *agents.Platform, s *agents.Sender), all ...*agents.Agent) {
	ctx, stop := context.WithCancel(context.Background())
	broker, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = broker.Close(context.Background()) }()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: broker.Brokers(), Registry: broker.RegistryURL(), Register: true})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, len(all))
	for _, a := range all {
		w, err := platform.Worker(a)
		if err != nil {
			log.Fatal(err)
		}
		go func() { ended <- w.Run(ctx) }()
		<-w.Ready()
	}
	sender, err := platform.Sender("desk")
	if err != nil {
		log.Fatal(err)
	}
	do(ctx, platform, sender)
	sender.Close()
	stop()
	for range all {
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
}

// asked runs agents likewise, with somebody who waits for answers.
func asked(do func(ctx context.Context, r *agents.Requester), all ...*agents.Agent) {
	together(func(ctx context.Context, p *agents.Platform, _ *agents.Sender) {
		r, err := p.Requester(ctx, "customer")
		if err != nil {
			log.Fatal(err)
		}
		defer r.Close()
		do(ctx, r)
	}, all...)
}

// shopOrder is what the shop of the examples is asked, shopOffer what it answers.
type shopOrder struct {
	Item string `avro:"item"`
}

type shopOffer struct {
	By    string `avro:"by"`
	Cents int64  `avro:"cents"`
}

var shopSchemas = [2]avro.Schema{
	parsed(`{"type":"record","name":"shop.Order","parley.type":"shop.order","fields":[{"name":"item","type":"string"}]}`),
	parsed(`{"type":"record","name":"shop.Offer","parley.type":"shop.offer","fields":[{"name":"by","type":"string"},{"name":"cents","type":"long"}]}`),
}

func (shopOrder) Schema() avro.Schema { return shopSchemas[0] }
func (shopOffer) Schema() avro.Schema { return shopSchemas[1] }

// seller is an agent that has a price for everything.
func seller(name string, cents int64) *agents.Agent {
	a := agents.New(name, agents.Config{})
	agents.On(a, func(_ context.Context, m *agents.Message[shopOrder]) error {
		return m.Reply(shopOffer{By: name, Cents: cents})
	})
	return a
}
