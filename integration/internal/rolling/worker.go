package rolling

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/chaos"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v1"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v2"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// WorkerVariable makes a test binary that calls RunWorker a worker process.
const WorkerVariable = "PARLEY_TEST_ROLLING_WORKER"

// Tiers and attempts of the agent.
var Tiers = []time.Duration{300 * time.Millisecond, 2 * time.Second}

const attempts = 3

// Session is short, so that a group does not wait long for its dead.
const Session = 6 * time.Second

// Spec is what a worker process is told.
type Spec struct {
	Brokers     []string
	Registry    string
	Agent       string // it puts out on the stream of its name
	Version     Version
	ExactlyOnce bool
	Hold        bool
	Instance    string
}

// RunWorker is the worker process: until SIGTERM, then drained. It says on its
// output when it is ready, and which steps it runs.
func RunWorker(spec string) int {
	var s Spec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

func (s Spec) run(ctx context.Context) error {
	// Without Register: schemas are in the registry before what writes them is deployed.
	p, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: s.Brokers, Registry: s.Registry, Partitions: chaos.Partitions,
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	a := agents.New(s.Agent, agents.Config{
		ExactlyOnce: s.ExactlyOnce, Hold: s.Hold, Instance: s.Instance, SessionTimeout: Session,
		Retry: retry.Policy{Tiers: Tiers, Attempts: attempts},
	})
	if s.Version == 1 {
		agents.On(a, func(ctx context.Context, m *agents.Message[v1.Task]) error {
			step, err := work(ctx, s, m, m.Payload.ID)
			if err != nil {
				return err
			}
			return put(s, m, done1(m.Payload.ID, read1(&m.Payload), step, m.Attempt))
		})
	} else {
		agents.On(a, func(ctx context.Context, m *agents.Message[v2.Task]) error {
			step, err := work(ctx, s, m, m.Payload.ID)
			if err != nil {
				return err
			}
			return put(s, m, done2(m.Payload.ID, read2(&m.Payload), step, m.Attempt))
		})
	}
	w, err := p.Worker(a)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-w.Ready():
			fmt.Println("ready", s.Version)
		case <-ctx.Done():
		}
	}()
	return w.Run(ctx)
}

var steps atomic.Int64

// work is the handler's in both versions. It makes a step before it can fail.
func work[T any](ctx context.Context, s Spec, m *agents.Message[T], id string) (step string, err error) {
	f := FateOf(id)
	if f.Slow {
		select {
		case <-time.After(400 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if f.Stumbles || f.Only != 0 {
		if step, err = agents.Step(ctx, m, "number", func(context.Context) (string, error) {
			result := fmt.Sprintf("%d/%d/%d", s.Version, os.Getpid(), steps.Add(1))
			fmt.Println("step", id, result)
			return result, nil
		}); err != nil {
			return "", err
		}
	}
	if f.Only == s.Version.Other() || f.Stumbles && m.Attempt == 1 {
		return "", fmt.Errorf("fails in version %d", s.Version)
	}
	return step, nil
}

// put puts out, and answers where an answer is wanted.
func put[T any](s Spec, m *agents.Message[T], done schemas.Message) error {
	if m.Envelope.Kind == streaming.KindRequest {
		if err := m.Reply(done, agents.Key(m.Key)); err != nil {
			return err
		}
	}
	return m.Publish(s.Agent, done, agents.Key(m.Key))
}
