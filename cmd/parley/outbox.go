package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/postgres"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

func newOutboxCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "outbox",
		Short: "Messages written in transactions of PostgreSQL",
		Long: `The outbox holds messages that programs have written with postgres.Send in
database transactions of their own. See docs/postgres.md.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newOutboxRelayCmd(a), &cobra.Command{
		Use:     "schema",
		Short:   "Print the SQL that makes the tables",
		Example: `  parley outbox schema | psql shop`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, postgres.Schema)
			return err
		},
	})
	return cmd
}

func newOutboxRelayCmd(a *app) *cobra.Command {
	var conn connection
	var database, name, metricsAddr string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "relay --database URL",
		Short: "Send what committed transactions have put into the outbox",
		Long: `Sends the messages of the outbox, each after its transaction has committed, until
it is interrupted. Any number of relays may run: one works, the others wait for
its place. What can never be sent is put aside in parley.outbox_parked.`,
		Example: `  parley outbox relay --database postgres://localhost/shop`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := conn.check(cmd); err != nil {
				return err
			}
			if database == "" {
				return usagef(cmd, "--database names none")
			}
			return relayOutbox(cmd, a, &conn, database, name, metricsAddr, patience)
		},
	}
	conn.addLogFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&database, "database", "", "PostgreSQL `URL`; PGPASSWORD and the other variables of libpq are read")
	f.StringVar(&name, "name", "outbox", "name in metrics, where one Prometheus watches several outboxes")
	f.StringVar(&metricsAddr, "metrics-addr", "", "serve Prometheus metrics at this host:port; default: none")
	f.DurationVar(&patience, "patience", time.Minute, "how long a message waits for a topic that does not exist")
	return cmd
}

func relayOutbox(cmd *cobra.Command, a *app, conn *connection, database, name, metricsAddr string, patience time.Duration) (err error) {
	ctx, logger := cmd.Context(), telemetry.NewLogger(a.stderr, slog.LevelInfo, false)
	reg := prometheus.NewRegistry()
	metrics, err := telemetry.New(reg)
	if err != nil {
		return err
	}
	if metricsAddr != "" {
		server, err := telemetry.Listen(metricsAddr, telemetry.Handler(reg, nil))
		if err != nil {
			return err
		}
		served := make(chan error, 1)
		serving, stop := context.WithCancel(context.WithoutCancel(ctx))
		go func() { served <- server.Serve(serving) }()
		defer func() {
			stop()
			err = errors.Join(err, <-served)
		}()
	}
	pool, err := postgres.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	// The values are framed already: no schema is asked for.
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: conn.brokers, Compression: kafka.Compression(conn.compression), Schemas: schemas.NewMemoryRegistry(), Namespace: conn.ns(), Logger: logger})
	if err != nil {
		return err
	}
	sender, err := p.Sender("relay")
	if err != nil {
		return err
	}
	defer sender.Close()
	return postgres.NewRelay(pool, sender, postgres.RelayConfig{Patience: patience, Observer: metrics.Outbox(name), Logger: logger}).Run(ctx)
}
