package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

const defaultData = "./parley-data"

// brokerCloseLimit is how long an orderly end may take.
const brokerCloseLimit = 20 * time.Second

func newBrokerCmd(a *app) *cobra.Command {
	var cfg embedded.Config
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker and schema registry alone",
		Long: `Runs a broker that speaks the Kafka protocol and a schema registry, both durable
in one folder, for development, demonstrations and one machine. Any Kafka and
schema registry client can use them. It says its addresses and runs until it is
interrupted (SIGINT or SIGTERM); a second signal ends it at once.

Topics are not created on first use: ` + "`parley topics apply`" + `, a starting agent or
any Kafka tool creates them.`,
		Example: `  parley broker
  parley broker --data ./dev --listen 127.0.0.1:19092 --registry-listen 127.0.0.1:18081
  parley broker --data '' --listen 127.0.0.1:0 --json     in memory, on a free port`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Logger = telemetry.NewLogger(a.stderr, slog.LevelWarn, false)
			return runBroker(cmd.Context(), a, cfg, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "data", defaultData, "folder for all state; '' for memory")
	f.StringVar(&cfg.Listen, "listen", defaultBroker, "the broker's host:port, as clients reach it; port 0: a free one")
	f.StringVar(&cfg.RegistryListen, "registry-listen", defaultRegistry, "the schema registry's host:port; port 0: a free one")
	f.BoolVar(&cfg.SyncWrites, "sync-writes", false, "call fsync before each acknowledgement, against a crash of the machine")
	f.BoolVar(&asJSON, "json", false, "print the addresses as one JSON object")
	return cmd
}

type brokerAddresses struct {
	Brokers  []string `json:"brokers"`
	Registry string   `json:"registry"`
	Data     string   `json:"data"` // empty: in memory
}

func runBroker(ctx context.Context, a *app, cfg embedded.Config, asJSON bool) (err error) {
	server, err := embedded.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		// The context has ended by now: the end has its own.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), brokerCloseLimit)
		defer cancel()
		err = errors.Join(err, server.Close(ctx))
	}()
	addresses := brokerAddresses{Brokers: server.Brokers(), Registry: server.RegistryURL(), Data: cfg.Dir}
	if asJSON {
		err = printJSON(a.stdout, addresses)
	} else {
		data := addresses.Data
		if data == "" {
			data = "in memory"
		}
		_, err = fmt.Fprintf(a.stdout, "broker    %s\nregistry  %s\ndata      %s\n", addresses.Brokers[0], addresses.Registry, data)
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(a.stderr, "ready; interrupt to end")
	<-ctx.Done()
	return nil
}
