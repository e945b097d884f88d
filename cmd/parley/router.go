package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

type routerOptions struct {
	name, metricsAddr string
	exactlyOnce       bool
}

func newRouterCmd(a *app) *cobra.Command {
	var conn connection
	var opts routerOptions
	cmd := &cobra.Command{
		Use:   "router",
		Short: "Send on, by the routes in force, what comes to the router's inbox",
		Long: `Runs an instance of the router: an agent that takes messages of any type and sends
each on unchanged, to the next agent of its routing slip, else where the routes
in force say. It ends, and drains, when it is interrupted or told to stop. Any
number of instances may run.`,
		Example: "  parley router\n  parley send --to router --type quake.reported --payload @quake.json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := conn.check(cmd); err != nil {
				return err
			}
			if err := schemas.ValidName(opts.name); err != nil {
				return usagef(cmd, "--name: %w", err)
			}
			return runRouter(cmd, a, &conn, opts)
		},
	}
	conn.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.name, "name", "router", "the agent's name")
	f.StringVar(&opts.metricsAddr, "metrics-addr", "", "serve Prometheus metrics at this host:port; default: none")
	f.BoolVar(&opts.exactlyOnce, "exactly-once", false, "send on in Kafka transactions")
	return cmd
}

func runRouter(cmd *cobra.Command, a *app, conn *connection, opts routerOptions) (err error) {
	ctx := cmd.Context()
	registry, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer registry.Close()
	reg := prometheus.NewRegistry()
	metrics, err := telemetry.New(reg)
	if err != nil {
		return err
	}
	if opts.metricsAddr != "" {
		server, err := telemetry.Listen(opts.metricsAddr, telemetry.Handler(reg, nil))
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
	// The platform's own, which marks, acks and error replies are written with.
	for _, m := range []schemas.Message{schemas.LedgerEntry{}, schemas.ErrorReply{}, schemas.AgentContract{}} {
		if err := know(cmd, registry, m); err != nil {
			return err
		}
	}
	platform, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: conn.brokers, Compression: kafka.Compression(conn.compression), MaxUnpackedBytes: conn.maxUnpacked, Schemas: registry, Namespace: conn.ns(),
		Metrics: metrics, Logger: telemetry.NewLogger(a.stderr, slog.LevelInfo, false),
	})
	if err != nil {
		return err
	}
	return platform.Run(ctx, agents.NewRouter(opts.name, agents.Config{ExactlyOnce: opts.exactlyOnce}))
}
