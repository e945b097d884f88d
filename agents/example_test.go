package agents_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
)

// The agent of the README: it prints what it reads from a stream.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	a := agents.New("watcher", agents.Config{Streams: []string{"quakes"}})
	agents.On(a, func(_ context.Context, m *agents.Message[quake.Reported]) error {
		fmt.Println(m.ID(), m.Payload.Place)
		return nil // done; any other outcome is an error
	})

	p, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: []string{"127.0.0.1:9092"}, Registry: "http://127.0.0.1:8081", Register: true,
	})
	if err == nil {
		err = p.Run(ctx, a) // until Ctrl-C or agent.stop; drains
	}
	if err != nil {
		log.Fatal(err)
	}
}

// The outcome of a handler is its error.
func ExampleRetryAfter() {
	busy := errors.New("the model is busy")
	fmt.Println(agents.RetryAfter(30*time.Second, busy))
	fmt.Println(agents.Permanent(errors.New("no such region")))
	// Output:
	// retry after 30s: the model is busy
	// dead letter (permanent): no such region
}

// A model is asked once, whatever happens to the handler afterwards.
func ExampleStep() {
	type answer struct{ Text string }
	ask := func(context.Context, string) (answer, error) { return answer{"stay inside"}, nil }

	a := agents.New("adviser", agents.Config{Streams: []string{"quakes"}})
	agents.On(a, func(ctx context.Context, m *agents.Message[quake.Reported]) error {
		advice, err := agents.Step(ctx, m, "ask", func(ctx context.Context) (answer, error) {
			return ask(ctx, m.Payload.Place)
		})
		if err != nil {
			return err // retried by policy; what is stored stays stored
		}
		return m.Publish("advice", &quake.Alert{Text: advice.Text})
	})
	fmt.Println(a.Types())
	// Output: [quake.reported]
}

// What an agent declares is all that it may send; the contract says it.
func ExampleProduces() {
	a := agents.New("adviser", agents.Config{Streams: []string{"quakes"}})
	agents.Produces[quake.Alert](a, agents.ToStream("advice"), agents.ToAgent("notify"))
	agents.On(a, func(_ context.Context, m *agents.Message[quake.Reported]) error {
		return m.Publish("advice", &quake.Alert{Text: m.Payload.Place}) // to "news" it would be an *agents.UndeclaredError
	})
	c := a.Contract()
	for _, p := range c.Consumes {
		fmt.Println("reads", p.Type, p.At)
	}
	for _, p := range c.Produces {
		fmt.Println("sends", p.Type, p.At)
	}
	// Output:
	// reads quake.reported [inbox:adviser stream:quakes]
	// sends quake.alert [inbox:notify stream:advice]
}

// The handler of a new type takes messages of the old one too.
func ExampleUpcast() {
	a := agents.New("greeter", agents.Config{})
	agents.Upcast(a, func(_ context.Context, old *nameV1) (nameV2, error) {
		first, last, ok := strings.Cut(old.Name, " ")
		if !ok {
			return nameV2{}, fmt.Errorf("the name %q has one part", old.Name) // a dead letter with the reason schema
		}
		return nameV2{First: first, Last: last}, nil
	})
	agents.On(a, func(_ context.Context, m *agents.Message[nameV2]) error {
		fmt.Println(m.Envelope.Type, m.Payload.First) // the type is as it was sent: test.name or test.name.v2
		return nil
	})
	for _, p := range a.Contract().Consumes {
		fmt.Println("reads", p.Type)
	}
	// Output:
	// reads test.name
	// reads test.name.v2
}
