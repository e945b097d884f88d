package agents_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
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
