package postgres_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/postgres"
	"github.com/seed-c9b6dc07/parley/agents/quake"
)

// A handler whose effect in the database happens once for each message.
func ExampleOn() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://localhost/quakes")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := postgres.Migrate(ctx, pool); err != nil {
		log.Fatal(err)
	}
	db := postgres.Open(pool, postgres.Config{})
	defer db.Close()

	a := agents.New("recorder", agents.Config{Streams: []string{"quakes"}})
	postgres.On(a, db, func(ctx context.Context, tx pgx.Tx, m *agents.Message[quake.Reported]) error {
		_, err := tx.Exec(ctx, "INSERT INTO quakes (place, magnitude) VALUES ($1, $2)", m.Payload.Place, m.Payload.Magnitude)
		return err
	})
}

// A message that is sent if, and only if, the order is stored.
func ExampleSend() {
	place := func(ctx context.Context, pool *pgxpool.Pool, sender *agents.Sender, alert *quake.Alert) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO alerts (text) VALUES ($1)", alert.Text); err != nil {
				return err
			}
			return postgres.Send(ctx, tx, sender, sender.ToAgent("notify", alert))
		})
	}
	_ = place
}

// One relay for each database, in any process; more than one is safe.
func ExampleNewRelay() {
	relay := func(ctx context.Context, pool *pgxpool.Pool, p *agents.Platform) error {
		sender, err := p.Sender("relay")
		if err != nil {
			return err
		}
		defer sender.Close()
		return postgres.NewRelay(pool, sender, postgres.RelayConfig{}).Run(ctx)
	}
	_ = relay
}
