//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/saga"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// traveller books a flight and a room for each message, and tells in a stream how it
// has ended.
func traveller(a *agents.Agent) {
	ask := func(what string) func(schemas.ErrorReply) schemas.Message {
		return func(s schemas.ErrorReply) schemas.Message {
			return schemas.ErrorReply{Reason: what, Message: s.Message}
		}
	}
	took := func(s *schemas.ErrorReply, ack schemas.Ack) error {
		if s.Reason += ack.Mode + " "; ack.Mode == "dear" {
			return saga.Refuse(errors.New("too dear"))
		}
		return nil
	}
	g := saga.New(a, "trip", saga.Config{Timeout: 20 * time.Second, UndoAttempts: 100}, func(_ context.Context, m *saga.Ended[schemas.ErrorReply]) error {
		end := schemas.ErrorReply{Reason: m.ID(), Message: "done"}
		if m.Err != nil {
			end.Message = "failed"
			if len(m.Err.Left) > 0 {
				end.Message = "left"
			}
		}
		return m.Publish("ends", &end, agents.Key(m.Key))
	},
		saga.Compensate[schemas.Ack](saga.Do("flight", "airline", ask("book"), took), ask("cancel")),
		saga.Compensate[schemas.Ack](saga.Do("room", "hotel", ask("book"), took), ask("cancel")),
	)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if m.Envelope.Kind == streaming.KindError {
			return nil // of a step whose time was over
		}
		return g.Start(ctx, m, m.Payload)
	})
}

// booker books and cancels, and tells in a stream what it has done. Messages of some
// numbers it cannot handle, does not answer, or answers otherwise.
func booker(fails, silent, dear string) func(a *agents.Agent) {
	return func(a *agents.Agent) {
		booked := agents.Keep[schemas.Ack](a, "booked")
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
			_, has, err := booked.Get(ctx, m)
			if err != nil {
				return err
			}
			number := m.Payload.Message
			tell := func(what string) error {
				return m.Publish("bookings", &schemas.ErrorReply{Reason: a.Name() + " " + what, Message: m.Envelope.CorrelationID}, agents.Key(m.Key))
			}
			switch {
			case m.Payload.Reason == "book" && strings.HasSuffix(number, fails):
				return agents.Permanent(errors.New("cannot be booked"))
			case m.Payload.Reason == "book":
				if err := errors.Join(booked.Set(ctx, m, schemas.Ack{}), tell("books")); err != nil || strings.HasSuffix(number, silent) {
					return err
				}
				if strings.HasSuffix(number, dear) {
					return m.Reply(&schemas.Ack{Mode: "dear"})
				}
			case has:
				if err := errors.Join(booked.Forget(m), tell("cancels")); err != nil {
					return err
				}
			}
			return m.Reply(&schemas.Ack{Mode: "well"})
		})
	}
}

// TestSagasUnderFaults: a saga ends once, with all of its effects or with none.
func TestSagasUnderFaults(t *testing.T) {
	var done, failed atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d sagas done, %d undone", done.Load(), failed.Load())
		if done.Load() == 0 || failed.Load() == 0 {
			t.Error("too few")
		}
	})
	underFaults(t, "SagasUnderFaults", func(t *testing.T, seed uint64) {
		y := &team{exactlyOnce: seed%2 == 1}
		var wrong []string
		// A clock that is more than the timeout ahead finds each request expired, for good.
		faults := slices.DeleteFunc(faultsForState(y.exactlyOnce), func(f streamtest.Fault) bool { return f == streamtest.FaultClock })
		o := streamtest.Simulate(t, seed, streamtest.Simulation{
			Agents: []streamtest.Simulated{
				y.member("traveller", traveller), y.member("airline", booker("3", "no", "9")), y.member("hotel", booker("5", "7", "8")),
			},
			Topics: []string{"parley.events.ends", "parley.events.bookings"}, Messages: 60, Length: 30 * time.Second,
			Faults: faults, TraceDir: *traces, KeepTrace: *keep,
			Message: func(_ *rand.Rand, i int) streamtest.Message {
				return streamtest.Message{Key: fmt.Sprint("k", i), Payload: &schemas.ErrorReply{Message: fmt.Sprint(i)}}
			},
			Check: func(topics map[string][]streaming.Record) []string {
				n, not, bad := y.checkSagas(topics)
				done.Add(n)
				failed.Add(not)
				wrong = bad
				return nil
			},
		})
		if !y.exactlyOnce && o.Hits[weakened] > 0 {
			return // two owners may have been at work side by side
		}
		for _, w := range wrong {
			t.Errorf("seed %d: %s\n%s", seed, w, o.Plan)
		}
	})
}

func (y *team) checkSagas(topics map[string][]streaming.Record) (done, failed int64, wrong []string) {
	read := func(topic string, each func(env *streaming.Envelope, e schemas.ErrorReply)) {
		for i := range topics[topic] {
			rec := &topics[topic][i]
			env, err := schemas.DecodeEnvelope(rec)
			var e schemas.ErrorReply
			if err == nil && env.Type == "agent.error" && y.codec.Decode(context.Background(), rec.Value, &e, "") == nil {
				each(&env, e)
			}
		}
	}
	ends := make(map[string]map[string]string) // by the message, by ID
	read("parley.events.ends", func(env *streaming.Envelope, e schemas.ErrorReply) {
		if ends[e.Reason] == nil {
			ends[e.Reason] = make(map[string]string)
		}
		ends[e.Reason][env.ID] = e.Message
	})
	seen := make(map[string]bool)
	booked := make(map[string]int) // by agent and conversation
	read("parley.events.bookings", func(env *streaming.Envelope, e schemas.ErrorReply) {
		if seen[env.ID] {
			return
		}
		seen[env.ID] = true
		agent, what, _ := strings.Cut(e.Reason, " ")
		if what == "books" {
			booked[agent+" "+e.Message]++
		} else {
			booked[agent+" "+e.Message]--
		}
	})
	skip := twins(topics["parley.inbox.traveller"])
	for _, topic := range []string{"traveller", "airline", "hotel"} { // of a part that died of a crash nobody goes on
		for i := range topics["parley.inbox."+topic+".dlq."+topic] {
			rec := &topics["parley.inbox."+topic+".dlq."+topic][i]
			reason, _ := rec.Header("parley-reason")
			if env, err := schemas.DecodeEnvelope(rec); err == nil && string(reason) != "permanent" {
				skip[env.ID], skip[env.CorrelationID] = true, true
			}
		}
	}
	messages := make(map[string]int) // of a conversation: one may come again under another ID
	read("parley.inbox.traveller", func(env *streaming.Envelope, _ schemas.ErrorReply) {
		if env.Source != "traveller" && env.Source != "airline" && env.Source != "hotel" && !seen[env.ID] {
			seen[env.ID] = true
			messages[env.CorrelationID]++ // from a sender of a garbled name, too
		}
	})
	read("parley.inbox.traveller", func(env *streaming.Envelope, _ schemas.ErrorReply) {
		if env.Source != "source" || !strings.HasPrefix(env.ID, "m") || skip[env.ID] || skip[env.CorrelationID] || messages[env.CorrelationID] != 1 {
			return
		}
		end := ""
		for _, said := range ends[env.ID] {
			end = said
		}
		flight, room := booked["airline "+env.CorrelationID], booked["hotel "+env.CorrelationID]
		switch {
		case len(ends[env.ID]) != 1:
			wrong = append(wrong, fmt.Sprintf("the saga of %s has ended %d times: %v", env.ID, len(ends[env.ID]), ends[env.ID]))
		case end == "done" && flight == 1 && room == 1:
			done++
		case end == "failed" && flight == 0 && room == 0:
			failed++
		default:
			wrong = append(wrong, fmt.Sprintf("the saga of %s has ended as %s with %d flights and %d rooms", env.ID, end, flight, room))
		}
	})
	return done, failed, wrong
}
