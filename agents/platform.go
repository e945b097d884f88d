package agents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// PlatformConfig says where the log and the schemas are.
type PlatformConfig struct {
	Brokers   []string            // required: host:port
	Registry  string              // schema registry URL; required unless Schemas is set
	Schemas   schemas.Schemas     // instead of Registry
	Register  bool                // register unknown schemas: for development; else they must be registered before
	Namespace streaming.Namespace // default: parley

	// SchemaCache is a folder that remembers the registry's schemas, so that a
	// worker also starts and works while the registry is down, on those that were
	// used before. Processes may share it. Default: none; the worker then waits.
	SchemaCache string
	Compression kafka.Compression // of what is sent; default: snappy
	// MaxUnpackedBytes is what a compressed batch of records may take in memory; a
	// partition with a larger one stands still. Default: 64 MiB.
	MaxUnpackedBytes int

	Partitions      int32 // of topics that do not exist yet; default 6
	Replication     int16 // of topics that do not exist yet; default: the broker's
	CheckTopicsOnly bool  // create no topic: fail if one is missing

	// Dialer opens the connections to the brokers: for tests on a network in
	// memory. Default: TCP.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)

	Metrics *telemetry.Metrics // default: none
	Logger  *slog.Logger       // default: none
}

// Platform is a connection to the log and the schemas that agents share.
type Platform struct {
	cfg   PlatformConfig
	kafka kafka.Config
	codec *schemas.Codec
}

// Connect checks that a broker answers.
func Connect(ctx context.Context, cfg PlatformConfig) (*Platform, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = streaming.DefaultNamespace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Schemas == nil {
		if cfg.Registry == "" {
			return nil, errors.New("no schema registry: name its URL")
		}
		var opts []schemas.RegistryOption
		if cfg.Register {
			opts = append(opts, schemas.WithAutoRegister())
		}
		if cfg.SchemaCache != "" {
			opts = append(opts, schemas.WithSchemaCache(cfg.SchemaCache, cfg.Logger))
		}
		reg, err := schemas.NewRegistry(cfg.Registry, opts...)
		if err != nil {
			return nil, err
		}
		cfg.Schemas = reg
	}
	p := &Platform{cfg: cfg, codec: schemas.NewCodec(cfg.Schemas)}
	p.kafka = kafka.Config{Brokers: cfg.Brokers, ClientID: "parley", Logger: cfg.Logger, Dialer: cfg.Dialer, Compression: cfg.Compression, MaxUnpackedBytes: cfg.MaxUnpackedBytes}
	if err := p.kafka.Validate(); err != nil {
		return nil, err
	}
	if err := kafka.Ping(ctx, p.kafka); err != nil {
		return nil, err
	}
	return p, nil
}

// Codec is the codec of the platform's schemas.
func (p *Platform) Codec() *schemas.Codec { return p.codec }

// Worker returns one instance of an agent, or all that is wrong with it.
func (p *Platform) Worker(a *Agent) (*worker.Worker, error) {
	cfg, err := p.WorkerConfig(a)
	if err != nil {
		return nil, err
	}
	w, err := worker.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", a.name, err)
	}
	return w, nil
}

// WorkerConfig is what Worker starts an agent's instance with, or all that is
// wrong with it: for a simulation, which starts it itself.
func (p *Platform) WorkerConfig(a *Agent) (worker.Config, error) {
	*a.link = link{agent: a.name, codec: p.codec, namespace: p.cfg.Namespace, outputs: &a.outputs, platform: p, exactlyOnce: a.cfg.ExactlyOnce, dropped: func(DroppedReply) {}}
	if p.cfg.Metrics != nil {
		replies := p.cfg.Metrics.Replies(a.name)
		a.link.dropped = func(why DroppedReply) { replies.Dropped(string(why)) }
	}
	cfg := p.workerConfig(a)
	if err := errors.Join(append(slices.Concat(a.errs, a.upcastErrors()), cfg.Validate())...); err != nil {
		return worker.Config{}, fmt.Errorf("agent %s: %w", a.name, err)
	}
	published := a.Contract().Record()
	cfg.Contract = &published
	return cfg, nil
}

// Run runs one instance of an agent until ctx ends or the agent is told to
// stop, and drains it: see worker.Worker.Run.
func (p *Platform) Run(ctx context.Context, a *Agent) error {
	w, err := p.Worker(a)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// Topics lists the topics that an agent needs.
func (p *Platform) Topics(a *Agent) []kafka.TopicSpec { return p.workerConfig(a).TopicSpecs() }

// replication is of topics that do not exist yet; -1 is the broker's own.
func (p *Platform) replication() int16 {
	if p.cfg.Replication == 0 {
		return -1
	}
	return p.cfg.Replication
}

func (p *Platform) workerConfig(a *Agent) worker.Config {
	cfg := worker.Config{
		Agent: a.name, Group: a.cfg.Group, Namespace: p.cfg.Namespace, Streams: a.cfg.Streams, Handlers: a.withAnswers(),
		Kafka: p.kafka, Codec: p.codec, ExactlyOnce: a.cfg.ExactlyOnce, Instance: a.cfg.Instance,
		Retry: a.cfg.Retry, Parallel: a.cfg.Parallel, Limits: a.cfg.Limits, MaxBytes: a.cfg.MaxBytes, HandlerTimeout: a.cfg.HandlerTimeout,
		DrainTimeout: a.cfg.DrainTimeout, GroupProtocol: a.cfg.GroupProtocol, SessionTimeout: a.cfg.SessionTimeout, LedgerWindow: a.cfg.LedgerWindow, LedgerSize: a.cfg.LedgerSize, AnswerBytes: a.cfg.AnswerBytes,
		Unordered: a.cfg.Unordered, Hold: a.cfg.Hold,
		State: len(a.states)+len(a.questions) > 0, StateBytes: a.cfg.StateBytes,
		StepBytes: a.cfg.StepBytes, MessageStepBytes: a.cfg.MessageStepBytes,
		Partitions: p.cfg.Partitions, Replication: p.cfg.Replication, CheckTopicsOnly: p.cfg.CheckTopicsOnly,
		Trace: telemetry.Propagate, Logger: p.cfg.Logger,
	}
	for _, topic := range a.maintains {
		cfg.Maintained = append(cfg.Maintained, p.maintained(topic(p.cfg.Namespace)))
	}
	if p.cfg.Metrics != nil {
		metrics := p.cfg.Metrics.Agent(a.name)
		cfg.Observe = func(topic string) pipeline.Observer { return metrics.Input(topic) }
		cfg.ObserveAgent = metrics.Instance()
	}
	return cfg
}
