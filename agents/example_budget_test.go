package agents_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// A conversation has 100 tokens. The first agent uses 70; the second has 30 left.
func ExampleBudget() {
	writer, reviewer := agents.New("writer", agents.Config{}), agents.New("reviewer", agents.Config{})
	agents.On(writer, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if err := m.Charge(70); err != nil {
			return err
		}
		return m.Send("reviewer", &m.Payload)
	})
	done := make(chan struct{})
	agents.On(reviewer, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		defer close(done)
		unit, left, _ := m.Budget()
		fmt.Println("reviewer:", left, unit)
		var over *streaming.BudgetError
		if err := m.Charge(50); errors.As(err, &over) {
			fmt.Println(over.Charge, "are too many")
		}
		return nil
	})
	together(func(ctx context.Context, _ *agents.Platform, s *agents.Sender) {
		if err := s.Send(ctx, s.ToAgent("writer", &schemas.ErrorReply{}, agents.Budget("tokens", 100))); err != nil {
			log.Fatal(err)
		}
		<-done
	}, reviewer, writer)
	// Output:
	// reviewer: 30 tokens
	// 50 are too many
}
