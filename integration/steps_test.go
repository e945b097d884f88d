//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// TestStepsOnKafka stops a worker whose handlers have stored a step, and has
// another one go on, after a retry in between.
func TestStepsOnKafka(t *testing.T) {
	kafka, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactlyOnce), func(t *testing.T) {
			p, err := agents.Connect(t.Context(), agents.PlatformConfig{
				Brokers: []string{kafka.Bootstrap()}, Registry: registry.URL, Register: true, Partitions: 3,
				Namespace: streaming.Namespace(fmt.Sprintf("steps-%t", exactlyOnce)),
			})
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			ran := map[string]int{}
			reached := make(chan string, 1000)
			run := func(ctx context.Context, handle func(context.Context, int) error) {
				a := agents.New("taker", agents.Config{
					Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 5}, DrainTimeout: time.Second, ExactlyOnce: exactlyOnce,
				})
				agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
					n, err := agents.Step(ctx, m, "ask", func(context.Context) (int, error) {
						mu.Lock()
						defer mu.Unlock()
						ran[m.ID()]++
						return ran[m.ID()], nil
					})
					if err != nil || n != 1 {
						t.Errorf("%s: the step is of run %d, %v", m.ID(), n, err)
					}
					if m.Attempt == 1 {
						return errors.New("again")
					}
					reached <- m.ID()
					return handle(ctx, m.Attempt)
				})
				if err := p.Run(ctx, a); err != nil {
					t.Error(err)
				}
			}
			first, stop := context.WithCancel(t.Context())
			var workers sync.WaitGroup
			workers.Go(func() {
				run(first, func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() })
			})
			sender, err := p.Sender("giver")
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			const messages = 20
			eventually(t, func() error {
				return sender.Send(t.Context(), sender.ToAgent("taker", &schemas.ErrorReply{}, agents.ID("m-0"), agents.Key("m-0")))
			})
			for i := 1; i < messages; i++ {
				id := fmt.Sprintf("m-%d", i)
				if err := sender.Send(t.Context(), sender.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key(id))); err != nil {
					t.Fatal(err)
				}
			}
			await := func() {
				t.Helper()
				for n := range messages {
					select {
					case <-reached:
					case <-time.After(30 * time.Second):
						t.Fatalf("%d of %d messages came past their step", n, messages)
					}
				}
			}
			await()
			stop()
			workers.Wait()
			second, stop := context.WithCancel(t.Context())
			defer workers.Wait()
			defer stop()
			workers.Go(func() { run(second, func(context.Context, int) error { return nil }) })
			await()
		})
	}
}

// eventually tries until it works: the agent makes its topics as it starts.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // polls a condition on the broker
	}
}
