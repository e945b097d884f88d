package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

const (
	// lookPause is how often the topics are asked how much is left.
	lookPause = 100 * time.Millisecond
	// ledgerWindow is so long that the table is of all runs on the folder.
	ledgerWindow = 100 * 365 * 24 * time.Hour
)

// demo is one run.
type demo struct {
	flags    demoFlags
	plan     quake.Plan
	brokers  []string
	registry string
	service  *quake.Service
	model    *quake.Model // nil: none
	logger   *slog.Logger
	progress *progress
	stdout   io.Writer

	metrics  *telemetry.Metrics
	platform *agents.Platform
	log      *kafka.Log
	sender   *agents.Sender
	agents   []*demoAgent
	ready    atomic.Bool // all agents are at work
}

// serveMetrics makes the metrics and says early what is wrong with the address
// or the file. The function it returns ends it and keeps the last exposition.
func (d *demo) serveMetrics(ctx context.Context) (end func() error, err error) {
	reg := prometheus.NewRegistry()
	if d.metrics, err = telemetry.New(reg); err != nil {
		return nil, err
	}
	if err := d.countTokens(reg); err != nil {
		return nil, err
	}
	keep := func() error { return nil }
	if d.flags.metricsOut != "" {
		keep = func() error { return telemetry.WriteExposition(d.flags.metricsOut, reg) }
	}
	if err := keep(); err != nil || d.flags.metricsAddr == "" {
		return keep, err
	}
	server, err := telemetry.Listen(d.flags.metricsAddr, telemetry.Handler(reg, func() error {
		if !d.ready.Load() {
			return errors.New("the agents are not at work")
		}
		return nil
	}))
	if err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // while agents drain, too
	go func() { served <- server.Serve(serving) }()
	return func() error {
		stop()
		return errors.Join(<-served, keep())
	}, nil
}

// run is the demo on a broker that serves.
func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := d.connect(ctx); err != nil {
		return err
	}
	defer d.log.Close()
	defer d.sender.Close()
	before, err := d.auditAll(ctx, nil)
	if err != nil {
		return err
	}

	ended := d.startAgents(ctx, cancel)
	err = d.work(ctx)
	if err != nil {
		cancel(err) // agents drain: nothing is lost
	}
	<-ended
	d.ready.Store(false)
	if cause := context.Cause(ctx); cause != nil {
		return cause // why an agent failed, or work: not what followed from it
	}

	after, err := d.auditAll(ctx, before)
	if err != nil {
		return err
	}
	d.progress.end()
	result := newDemoResult(before, after, d.effects())
	if result.demoPatterns, err = d.patterns(ctx); err != nil {
		return err
	}
	if err := result.write(d.stdout, d.flags.json); err != nil {
		return err
	}
	if result.Conservation != audit.Exact {
		return fmt.Errorf("conservation does not hold: %s", result.Conservation)
	}
	return nil
}

// effects says what the outside service took: in all runs where it keeps that in
// a file.
func (d *demo) effects() string {
	text := fmt.Sprintf("%d alerts had their effect outside", d.service.Taken())
	if !d.service.Durable() {
		text += " in this run"
	}
	return text
}

// connect makes sure of all topics before anything is written to them.
func (d *demo) connect(ctx context.Context) error {
	cfg := agents.Config{Retry: d.flags.policy(), LedgerWindow: ledgerWindow, GroupProtocol: kafka.GroupProtocol(d.flags.protocol)}
	platform, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: d.brokers, Registry: d.registry, Register: true, SchemaCache: d.flags.schemaCache, Partitions: d.flags.partitions,
		Metrics: d.metrics, Logger: d.logger,
	})
	if err != nil {
		return err
	}
	d.platform = platform
	d.progress.phase(phaseStarting, "")
	log, err := kafka.NewLog(kafka.Config{Brokers: d.brokers, Logger: d.logger})
	if err != nil {
		return err
	}
	sender, err := platform.Sender(quake.FeedAgent)
	if err != nil {
		log.Close()
		return err
	}
	d.log, d.sender = log, sender
	if err = d.prepare(ctx, quake.Agents(cfg, quake.Options{Service: d.service, Seed: d.flags.seed, Model: d.model})...); err == nil {
		err = d.applyRoutes(ctx)
	}
	if err != nil {
		sender.Close()
		log.Close()
	}
	return err
}

func (d *demo) prepare(ctx context.Context, all ...*agents.Agent) error {
	var specs []kafka.TopicSpec
	for _, a := range all {
		specs = append(specs, d.platform.Topics(a)...)
	}
	plan, err := d.log.PlanTopics(ctx, specs)
	if err != nil {
		return err
	}
	if err := plan.Err(); err != nil {
		return err
	}
	if err := d.log.ApplyTopics(ctx, plan, -1); err != nil {
		return err
	}
	for _, a := range all {
		group := audit.Group{Agent: a.Name(), Types: a.Types(), Streams: quake.Streams(a.Name())}
		auditor, err := audit.New(ctx, d.log, d.platform.Codec(), group)
		if err != nil {
			return err
		}
		d.agents = append(d.agents, &demoAgent{demo: d, agent: a, auditor: auditor, stopSent: make(chan struct{})})
	}
	return nil
}

// work feeds, waits until nothing is left to do, and has the agents stopped.
func (d *demo) work(ctx context.Context) error {
	for _, a := range d.agents {
		if err := a.waitReady(ctx); err != nil {
			return err
		}
	}
	d.ready.Store(true)
	feeder := quake.Feeder{
		Sender: d.sender, Log: d.log, Codec: d.platform.Codec(),
		Progress: func(sent int) { d.progress.phase(phaseFeeding, fmt.Sprintf("%d of %d records", sent, d.plan.Size())) },
	}
	d.progress.phase(phaseFeeding, fmt.Sprintf("%d records", d.plan.Size()))
	if err := feeder.Feed(ctx, d.plan); err != nil {
		return err
	}
	d.progress.phase(phaseHandling, "")
	if err := d.waitQuiet(ctx); err != nil {
		return err
	}
	d.progress.phase(phaseStopping, "")
	for _, a := range d.agents {
		if err := a.stop(ctx); err != nil {
			return err
		}
	}
	return nil
}

// demoAudit is one audit of all agents.
type demoAudit struct {
	reports   []*audit.Report
	published int64 // records in the stream
}

func (d *demo) auditAll(ctx context.Context, earlier *demoAudit) (*demoAudit, error) {
	all := &demoAudit{}
	for i, a := range d.agents {
		var before *audit.Report
		if earlier != nil {
			before = earlier.reports[i]
		}
		r, err := a.auditor.Read(ctx, before)
		if err != nil {
			return nil, err
		}
		all.reports = append(all.reports, r)
		// Only triage reads the stream.
		all.published = max(all.published, r.Appended[streaming.DefaultNamespace.Events(quake.Stream)])
	}
	return all, nil
}
