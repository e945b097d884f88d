//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// askVariable makes the test binary the process of one of two agents, of which
// one asks the other from its handler.
const askVariable = "PARLEY_TEST_ASK"

// askSession is the session timeout: a group waits as long for its dead.
const askSession = 6 * time.Second

// askPartitions of each topic.
const askPartitions = 6

// What a message's asker asks, by the message's Reason.
const (
	askPlain = "plain" // an agent that answers, with time for restarts
	askRaced = "raced" // the same, with a deadline that passes while a process is gone
	askMute  = "mute"  // an agent that does not exist
)

// askDeadlines are the times from the handler's Ask.
var askDeadlines = map[string]time.Duration{askPlain: 2 * time.Minute, askRaced: 3 * time.Second, askMute: 2 * time.Second}

// askSpec is what a process is told. It is the asker if Asks names who answers.
type askSpec struct {
	Broker, Registry string
	Agent, Asks      string
	ExactlyOnce      bool
}

func (s askSpec) nobody() string { return s.Agent + "-nobody" }

// askAnswer is the right answer.
func askAnswer(id string) string { return "answer to " + id }

// askSilence is the result without an answer.
const askSilence = "no answer"

// runAsk is the process, until SIGTERM. It says on its output when it has its
// partitions and when it is at work.
func runAsk(spec string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var s askSpec
	err := json.Unmarshal([]byte(spec), &s)
	if err == nil {
		err = s.run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

func (s askSpec) run(ctx context.Context) error {
	p, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: []string{s.Broker}, Registry: s.Registry, Register: true, Partitions: askPartitions,
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	a := agents.New(s.Agent, agents.Config{
		ExactlyOnce: s.ExactlyOnce, Instance: "slot", SessionTimeout: askSession, Parallel: 4,
		Retry: retry.Policy{Tiers: []time.Duration{200 * time.Millisecond}, Attempts: 4},
	})
	if s.Asks != "" {
		s.asker(a)
	} else {
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
			if err := atWork(ctx); err != nil {
				return err
			}
			return m.Reply(&schemas.Ack{Mode: askAnswer(m.Payload.By)})
		})
	}
	w, err := p.Worker(a)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-w.Ready():
			fmt.Println("ready", os.Getpid())
		case <-ctx.Done():
		}
	}()
	return w.Run(ctx)
}

// asker publishes what became of each message on the stream of its name, under the
// message's ID as key.
func (s askSpec) asker(a *agents.Agent) {
	q := agents.OnAnswer(a, "what", func(ctx context.Context, m *agents.Answered[schemas.Ack, schemas.AgentControl]) error {
		if err := atWork(ctx); err != nil {
			return err
		}
		reply, err := m.Answer()
		said := reply.Mode
		var none *agents.NoReplyError
		switch {
		case errors.As(err, &none):
			said = askSilence
		case err != nil:
			said = err.Error()
		}
		return m.Publish(s.Agent, &schemas.Ack{Messageid: m.ID(), Source: m.Payload.Reason, Mode: said}, agents.Key(m.ID()))
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		if err := atWork(ctx); err != nil {
			return err
		}
		of := s.Asks
		if m.Payload.Reason == askMute {
			of = s.nobody()
		}
		return q.Ask(ctx, m, of, schemas.AgentControl{By: m.ID()}, m.Payload, agents.Expires(time.Now().Add(askDeadlines[m.Payload.Reason])))
	})
}

var (
	askRunning atomic.Int32
	sayAtWork  = sync.OnceFunc(func() { fmt.Println("work", os.Getpid()) })
)

// atWork takes a handler's time, so that most kills are in the middle of some. It says
// so when a handler beside it has begun: those that were begun when the process
// before died run alone, and one that is killed in there, too, is dead as a crash.
func atWork(ctx context.Context) error {
	if askRunning.Add(1) > 1 {
		sayAtWork()
	}
	defer askRunning.Add(-1)
	select {
	case <-time.After(rand.N(20 * time.Millisecond)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
