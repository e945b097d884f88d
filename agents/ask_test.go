package agents_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// front runs an agent that answers only after it has asked others: an
// AgentControl names them as By, and the answer tells what they have said.
func (a *asking) front(t *testing.T, enough int, within time.Duration) {
	t.Helper()
	front := agents.New("front", agents.Config{Retry: retry.Policy{Tiers: []time.Duration{20 * time.Millisecond}, Attempts: 2}})
	var q *agents.Question[schemas.Ack, schemas.AgentControl]
	q = agents.OnAnswer(front, "who", func(ctx context.Context, m *agents.Answered[schemas.Ack, schemas.AgentControl]) error {
		if m.Attempt == 1 && m.Payload.Reason == "again" {
			return errors.New("the first attempt fails")
		}
		if next, ok := strings.CutPrefix(m.Payload.Reason, "then "); ok {
			return q.Ask(ctx, m, next, schemas.AgentControl{Reason: "then"}, schemas.AgentControl{Reason: "after"})
		}
		var said []string
		for _, answer := range m.Answers {
			text := answer.Reply.Mode
			var failed *agents.RequestError
			var none *agents.NoReplyError
			switch {
			case errors.As(answer.Err, &failed):
				text = string(failed.Reason)
			case errors.As(answer.Err, &none):
				text = "silent"
			case answer.Err != nil:
				text = answer.Err.Error()
			}
			said = append(said, answer.Agent+" "+text)
		}
		return m.Reply(&schemas.Ack{Messageid: m.ID(), Source: m.Key, Mode: m.Payload.Reason + ": " + strings.Join(said, ", ")})
	})
	agents.On(front, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		return q.AskAll(ctx, m, strings.Split(m.Payload.By, ","), enough, schemas.AgentControl{Reason: "hello"}, m.Payload,
			agents.Expires(time.Now().Add(within)))
	})
	a.run(t, front)
}

func (a *asking) ask(t *testing.T, by, reason string) schemas.Ack {
	t.Helper()
	got, err := agents.Request[schemas.Ack](t.Context(), a.r, "front", schemas.AgentControl{By: by, Reason: reason}, agents.ID("i-"+reason), agents.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAskInAHandler(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "echo", echo)
	a.answerer(t, "cannot", func(context.Context, *agents.Message[schemas.AgentControl]) error {
		return agents.Permanent(errors.New("no"))
	})
	a.front(t, 1, 20*time.Second)
	for _, c := range []struct{ by, reason, want string }{
		{"echo", "plain", "plain: echo hello"},
		{"echo", "again", "again: echo hello"},
		{"cannot", "dead", "dead: cannot permanent"},
		{"echo", "then echo", "after: echo then"},
	} {
		got := a.ask(t, c.by, c.reason)
		if got.Mode != c.want || got.Messageid != "i-"+c.reason || got.Source != "k" {
			t.Errorf("answer %+v, want %s", got, c.want)
		}
	}
	if n := testutil.ToFloat64(a.metrics.Replies("front").Counter("late")); n != 0 {
		t.Errorf("%v answers dropped", n)
	}
}

func TestAskAllGoesOnAtTheDeadline(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "echo", echo)
	a.answerer(t, "slow", func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		time.Sleep(700 * time.Millisecond)
		return m.Reply(&schemas.Ack{})
	})
	a.front(t, 3, 500*time.Millisecond)
	if got := a.ask(t, "slow,echo,gone", "late"); got.Mode != "late: echo hello, slow silent, gone silent" {
		t.Errorf("answer %+v", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	for testutil.ToFloat64(a.metrics.Replies("front").Counter("late")) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the late answer is not counted")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAskAllGoesOnWhenEnoughHaveAnswered(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "echo", echo)
	a.answerer(t, "cannot", func(context.Context, *agents.Message[schemas.AgentControl]) error {
		return agents.Permanent(errors.New("no"))
	})
	a.answerer(t, "never", func(ctx context.Context, _ *agents.Message[schemas.AgentControl]) error {
		<-ctx.Done()
		return ctx.Err()
	})
	a.front(t, 1, 20*time.Second)
	if got := a.ask(t, "never,cannot,echo", "first"); !strings.Contains(got.Mode, "echo hello") || !strings.Contains(got.Mode, "never silent") {
		t.Errorf("answer %+v", got)
	}
}

// What an agent tells itself nobody else may tell it.
func TestOnlyTheAgentItselfAsks(t *testing.T) {
	a := newAsking(t)
	a.front(t, 1, time.Second)
	for _, m := range []schemas.Message{schemas.Ask{Question: "who"}, schemas.AskOver{Ask: "x"}} {
		_, err := agents.Request[schemas.Ack](t.Context(), a.r, "front", m)
		var failed *agents.RequestError
		if !errors.As(err, &failed) || failed.Reason != streaming.ReasonPolicy {
			t.Errorf("%T: %v", m, err)
		}
	}
}

// A conversation's deadline is that of its first request, at each of its agents.
func TestAnAskEndsWithItsMessage(t *testing.T) {
	a := newAsking(t)
	deadlines, conversations := make(chan time.Time, 1), make(chan string, 1)
	a.answerer(t, "tell", func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		conversations <- m.Envelope.CorrelationID
		at, _ := ctx.Deadline()
		deadlines <- at
		return m.Reply(&schemas.Ack{})
	})
	a.front(t, 1, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := agents.Request[schemas.Ack](ctx, a.r, "front", schemas.AgentControl{By: "tell"}, agents.ID("root")); err != nil {
		t.Fatal(err)
	}
	want, _ := ctx.Deadline()
	if got := <-deadlines; got.Sub(want).Abs() > time.Millisecond {
		t.Errorf("the deadline is %s, want %s", got, want)
	}
	if got := <-conversations; got != "root" {
		t.Errorf("the conversation is %s", got)
	}
}

func TestQuestionsAreChecked(t *testing.T) {
	a := newAsking(t)
	bad := agents.New("bad", agents.Config{})
	on := func(context.Context, *agents.Answered[schemas.Ack, schemas.Ack]) error { return nil }
	agents.OnAnswer(bad, "Name", on)
	agents.OnAnswer(bad, "twice", on)
	agents.OnAnswer(bad, "twice", on)
	_, err := a.Worker(bad)
	for _, want := range []string{"Name", "question twice: there are two"} {
		if err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
