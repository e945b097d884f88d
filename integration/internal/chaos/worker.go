package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// WorkerVariable makes a test binary that calls RunWorker a worker process.
const WorkerVariable = "PARLEY_TEST_CHAOS_WORKER"

// Spec is what a worker process is told.
type Spec struct {
	Brokers  []string
	Registry string
	Plan     Plan
	Links    []Link
	Session  time.Duration // default: the client's
	Protocol kafka.GroupProtocol
	Instance string
	Host     string // that it dials from
}

// Link is an agent of a chain: what it is given it publishes on the stream of
// its own name. The first reads its inbox, each other the stream before.
type Link struct {
	Agent       string
	From        string // stream; empty: the inbox
	ExactlyOnce bool
}

// attempts and tiers are every link's.
const attempts = 4

var tiers = []time.Duration{200 * time.Millisecond, 2 * time.Second}

func (l Link) agent(s Spec) *agents.Agent {
	cfg := agents.Config{
		ExactlyOnce: l.ExactlyOnce, Instance: s.Instance, SessionTimeout: s.Session, GroupProtocol: s.Protocol,
		Retry: retry.Policy{Tiers: tiers, Attempts: attempts},
	}
	if l.From != "" {
		cfg.Streams = []string{l.From}
	}
	a := agents.New(l.Agent, cfg)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		f := s.Plan.Fate(l.Agent, m.Payload.Message)
		if f.Waits > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(f.Waits):
			}
		}
		switch {
		case f.Permanent:
			return agents.Permanent(errors.New("never"))
		case f.Exhausts, m.Attempt <= f.Fails:
			return errors.New("not yet")
		}
		return m.Publish(l.Agent, &schemas.ErrorReply{Message: m.Payload.Message}, agents.Key(m.Key))
	})
	return a
}

// RunWorker is the worker process: all links until SIGTERM, then drained.
func RunWorker(spec string) int {
	var s Spec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	logger := slog.New(quietClient{slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})}).With("pid", os.Getpid())
	logger.Info("start", "instance", s.Instance)
	err := s.run(ctx, logger)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // told to end before it had begun
	}
	if err != nil {
		logger.Error("end", "error", err)
		return 1
	}
	logger.Info("drained")
	return 0
}

func (s Spec) run(ctx context.Context, logger *slog.Logger) error {
	p, err := Connect(ctx, s.Brokers, s.Registry, s.Host, logger)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(s.Links))
	for _, l := range s.Links {
		go func() {
			defer cancel() // a process whose agent has ended is to be started anew as a whole
			ended <- p.Run(ctx, l.agent(s))
		}()
	}
	for range s.Links {
		err = errors.Join(err, <-ended)
	}
	return err
}

// Connect connects from a host of the machine's own, 127.x.x.x, by which the
// front knows the client.
func Connect(ctx context.Context, brokers []string, registry, host string, logger *slog.Logger) (*agents.Platform, error) {
	return agents.Connect(ctx, agents.PlatformConfig{
		Brokers: brokers, Registry: registry, Register: true, Partitions: Partitions, Logger: logger, Dialer: DialFrom(host),
	})
}

// Partitions of every topic.
const Partitions = 6

// Host is one of a run's hosts.
func Host(net, number int) string { return fmt.Sprintf("127.0.%d.%d", net, number) }

// loadHost is the number of the host that the load dials from.
const loadHost = 200

// DialFrom dials from a host of the machine's own.
func DialFrom(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: 10 * time.Second}
	return d.DialContext
}

// quietClient leaves out what the Kafka client tells in normal operation.
type quietClient struct{ slog.Handler }

func (q quietClient) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo && strings.HasPrefix(r.Message, "kafka client:") {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quietClient) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietClient{q.Handler.WithAttrs(attrs)}
}

func (q quietClient) WithGroup(name string) slog.Handler {
	return quietClient{q.Handler.WithGroup(name)}
}
