package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Where `parley broker` listens by default, and so where the other commands
// look.
const (
	defaultBroker   = "127.0.0.1:9092"
	defaultRegistry = "127.0.0.1:8081"
)

// connection is how a command reaches the log and the schemas.
type connection struct {
	brokers   []string
	registry  string
	namespace string
	timeout   time.Duration

	compression string
	maxUnpacked int
}

func (c *connection) addLogFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&c.brokers, "brokers", []string{defaultBroker}, "Kafka brokers, host:port")
	f.StringVar(&c.namespace, "namespace", string(streaming.DefaultNamespace), "first word of all topics")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	f.StringVar(&c.compression, "compression", string(kafka.CompressionSnappy), "of what is written: none, zstd, lz4, snappy or gzip")
	f.IntVar(&c.maxUnpacked, "max-unpacked-bytes", 64<<20, "what a compressed batch that is read may take in memory")
}

func (c *connection) addFlags(cmd *cobra.Command) {
	c.addLogFlags(cmd)
	c.addRegistryFlag(cmd)
}

// addRegistryFlags are those of a command that needs no broker.
func (c *connection) addRegistryFlags(cmd *cobra.Command) {
	c.addRegistryFlag(cmd)
	cmd.Flags().DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
}

func (c *connection) addRegistryFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.registry, "registry", "http://"+defaultRegistry, "schema registry URL")
}

// check reports all that is wrong with the flags at once.
func (c *connection) check(cmd *cobra.Command) error {
	var errs []error
	if len(c.brokers) == 0 {
		errs = append(errs, errors.New("--brokers names none"))
	}
	for _, b := range c.brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("--brokers: %q is not host:port", b))
		}
	}
	if err := schemas.ValidName(c.namespace); err != nil {
		errs = append(errs, fmt.Errorf("--namespace: %w", err))
	}
	if err := kafka.Compression(c.compression).Validate(); err != nil {
		errs = append(errs, fmt.Errorf("--%w", err))
	}
	if c.maxUnpacked < 0 {
		errs = append(errs, fmt.Errorf("--max-unpacked-bytes: %d is no size", c.maxUnpacked))
	}
	if c.timeout <= 0 {
		errs = append(errs, fmt.Errorf("--timeout: %s is not a time to wait", c.timeout))
	}
	if err := errors.Join(errs...); err != nil {
		return usagef(cmd, "%w", err)
	}
	return nil
}

// bounded is the command's context with the time to wait for one answer.
func (c *connection) bounded(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(cmd.Context(), c.timeout, fmt.Errorf("no answer within %s", c.timeout))
}

func (c *connection) kafka() kafka.Config {
	return kafka.Config{Brokers: c.brokers, Compression: kafka.Compression(c.compression), MaxUnpackedBytes: c.maxUnpacked}
}

// open checks the flags and that a broker answers.
func (c *connection) open(cmd *cobra.Command) (*kafka.Log, error) {
	if err := c.check(cmd); err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(cmd)
	defer cancel()
	if err := c.ping(ctx); err != nil {
		return nil, err
	}
	return kafka.NewLog(c.kafka())
}

// ping reports a broker that does not answer in time. The client has a limit of
// its own for a connection that is accepted and then silent, and does not end
// earlier for the context.
func (c *connection) ping(ctx context.Context) error {
	answer := make(chan error, 1)
	go func() { answer <- kafka.Ping(ctx, c.kafka()) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return &kafka.UnreachableError{Brokers: c.brokers, Err: context.Cause(ctx)}
	}
}

// schemas returns a client of the registry; nothing is asked of it yet.
func (c *connection) schemas(cmd *cobra.Command) (*schemas.Registry, error) {
	reg, err := schemas.NewRegistry(c.registry, schemas.WithRegistryTimeout(c.timeout))
	if err != nil {
		return nil, usagef(cmd, "--registry: %w", err)
	}
	return reg, nil
}

// platform connects to what agents run on.
func (c *connection) platform(ctx context.Context, reg *schemas.Registry) (*agents.Platform, error) {
	return agents.Connect(ctx, agents.PlatformConfig{Brokers: c.brokers, Compression: kafka.Compression(c.compression), Schemas: reg, Namespace: c.ns()})
}

func (c *connection) ns() streaming.Namespace { return streaming.Namespace(c.namespace) }

// existing reports a topic that does not exist. Asked for its offsets, or sent
// a record, the client would wait for it to appear.
func (c *connection) existing(ctx context.Context, log *kafka.Log, topic string) (partitions int32, err error) {
	n, err := log.PartitionCount(ctx, topic)
	if err == nil && n == 0 {
		err = fmt.Errorf("there is no topic %s; `parley topics list` shows what there is", topic)
	}
	return n, err
}

// errStalled is the cause of a read that got no record for too long.
var errStalled = errors.New("the broker has stopped answering")

// scan reads ranges once, and gives up when nothing comes for the time to wait.
func (c *connection) scan(ctx context.Context, log *kafka.Log, ranges []kafka.Range, each func(streaming.Record)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.timeout, func() { cancel(errStalled) })
	defer idle.Stop()
	err := log.Scan(ctx, ranges, func(r streaming.Record) {
		idle.Stop() // each may take its time
		each(r)
		idle.Reset(c.timeout)
	})
	if errors.Is(context.Cause(ctx), errStalled) {
		return fmt.Errorf("%w for %s: check the brokers, or raise --timeout", errStalled, c.timeout)
	}
	return err
}
