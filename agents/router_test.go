package agents_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func (r *routing) router(t *testing.T, name string) {
	t.Helper()
	r.run(t, agents.NewRouter(name, agents.Config{}))
}

// only is the one record of a topic, when there is one.
func (r *routing) only(t *testing.T, topic string) *kgo.Record {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if recs := r.c.ReadAll(t, topic); len(recs) > 0 {
			return recs[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing comes to %s", topic)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func headers(rec *kgo.Record) map[string]string {
	all := make(map[string]string)
	for _, h := range rec.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func TestARouterSendsOnWhatItCannotRead(t *testing.T) {
	r := newRouting(t)
	r.hears(t, make(chan string, 10), "a")
	r.apply(t, schemas.Route{Name: "foreign", Match: `type == 'no.such' && source == 'elsewhere/1'`, Destinations: []schemas.RouteDestination{{To: "agent:a"}}})
	r.router(t, "router")
	sent := &kgo.Record{Topic: "parley.inbox.router", Key: []byte{0xff, 0}, Value: []byte("\x00\x00\x00\x27\x10 of a schema that nobody knows")}
	for _, h := range [][2]string{
		{"x-own", "\xfe"},
		{"ce_specversion", "1.0"},
		{"ce_id", "i"},
		{"ce_source", "elsewhere/1"},
		{"ce_type", "no.such"},
		{"ce_time", "2026-01-02T03:04:05.123456789+01:00"},
		{"ce_correlationid", "c"},
		{"ce_causationid", "b"},
		{"ce_replyto", "elsewhere.replies/4"},
		{"ce_expirytime", "2036-01-02T03:04:05Z"},
		{"ce_kind", "command"},
		{"ce_hops", "9"},
		{"ce_recipient", "router"},
		{"ce_extension", "kept"},
		{"ce_budget", "usd=1.50"},
	} {
		sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	if err := r.c.Client(t).ProduceSync(t.Context(), sent).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := r.only(t, "parley.inbox.a")
	if !bytes.Equal(got.Value, sent.Value) || !bytes.Equal(got.Key, sent.Key) {
		t.Errorf("value %q, key %q", got.Value, got.Key)
	}
	want := headers(sent)
	want["ce_recipient"], want["ce_hops"], want["parley-forwarded"] = "a", "8", "router"
	have := headers(got)
	delete(have, "traceparent") // begun here, where there was none
	for name, value := range want {
		if have[name] != value {
			t.Errorf("%s is %q, not %q", name, have[name], value)
		}
	}
	if len(have) != len(want) {
		t.Errorf("headers %v", have)
	}
}

func TestAnAnswerComesBackPastTheRouter(t *testing.T) {
	a := newAsking(t)
	c := &routing{Platform: a.Platform}
	runs := make(chan string, 10)
	a.answerer(t, "echo", func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		runs <- m.Envelope.Source + " " + m.ID()
		return echo(ctx, m)
	})
	s := c.sender(t, "operator")
	if _, err := s.ApplyRoutes(t.Context(), []schemas.Route{
		{Name: "ask", Match: `kind == 'request' && type == 'agent.control'`, Destinations: []schemas.RouteDestination{{To: "agent:echo"}}},
	}, "", ""); err != nil {
		t.Fatal(err)
	}
	c.router(t, "router")
	if got, err := agents.Request[schemas.Ack](t.Context(), a.r, "router", schemas.AgentControl{Reason: "hello"}, agents.ID("own"), agents.Key("k")); err != nil || got.Mode != "hello" || got.Messageid != "own" {
		t.Error(got, err)
	}
	// The same request to the agent itself is known again there.
	got, err := agents.Request[schemas.Ack](t.Context(), a.r, "echo", schemas.AgentControl{Reason: "hello"}, agents.ID("own"), agents.Key("k"))
	if err != nil || got.Messageid != "own" {
		t.Error(got, err)
	}
	if first := <-runs; first != "asker own" || len(runs) > 0 {
		t.Errorf("handled as %q, and %d times more", first, len(runs))
	}
	// What the router cannot send on is answered by it.
	var failed *agents.RequestError
	_, err = agents.Request[schemas.Ack](t.Context(), a.r, "router", schemas.Ack{})
	if !errors.As(err, &failed) || failed.Reason != streaming.ReasonNoRoute {
		t.Error(err)
	}
	// Beside the routes, a slip says where to.
	if got, err := agents.Request[schemas.Ack](t.Context(), a.r, "router", schemas.AgentControl{Reason: "by slip"}, agents.Via("echo")); err != nil || got.Mode != "by slip" {
		t.Error(got, err)
	}
}

func TestOnlyWhoHandlesAcks(t *testing.T) {
	r := newRouting(t)
	acks := make(chan string, 10)
	me := agents.New("me", agents.Config{})
	agents.On(me, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
		acks <- m.Envelope.Source + " " + m.Payload.Mode + " " + m.Payload.Messageid
		return nil
	})
	r.run(t, me)
	r.hears(t, make(chan string, 10), "a")
	r.apply(t, route("r", "", "agent:a"))
	r.router(t, "router")
	s := r.sender(t, "me")
	for _, mode := range []streaming.AckMode{streaming.AckDelivered, streaming.AckHandled} {
		if err := s.Send(t.Context(), s.ToAgent("router", schemas.ErrorReply{}, agents.Ack(mode), agents.ID(string(mode)))); err != nil {
			t.Fatal(err)
		}
		hear(t, acks, "a "+string(mode)+" "+string(mode))
	}
	time.Sleep(100 * time.Millisecond)
	if len(acks) > 0 {
		t.Error("another ack:", <-acks)
	}
}

func TestRoutersInACircleEndTheMessage(t *testing.T) {
	r := newRouting(t)
	r.hears(t, make(chan string, 10), "a")
	for _, name := range []string{"one", "two"} {
		r.router(t, name)
	}
	r.apply(t, route("r", "", "agent:a"))
	r.send(t, "one", "x", agents.Via("two", "one", "a"))
	if reason, text := r.dead(t, "two"); reason != "hops" || !strings.Contains(text, "in a loop: one, two, and again to one") {
		t.Error(reason, text)
	}
	r.send(t, "one", "x", agents.Via("one"))
	if reason, text := r.dead(t, "one"); reason != "hops" || !strings.Contains(text, "in a loop: one, and again to one") {
		t.Error(reason, text)
	}
}

func TestASlipLeadsFromAgentToAgent(t *testing.T) {
	r := newRouting(t)
	visits := make(chan string, 10)
	for _, name := range []string{"a", "b", "c"} {
		a := agents.New(name, agents.Config{})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			next, err := m.Pass(schemas.ErrorReply{Reason: m.Payload.Reason + name})
			visits <- name + " " + m.Key + " " + m.Payload.Reason + " " + next + " " + strings.Join(m.Envelope.Route, ",")
			return err
		})
		r.run(t, a)
	}
	r.send(t, "a", "-", agents.Via("b", "c"), agents.Key("k"))
	hear(t, visits, "a k - b b,c", "b k -a c c", "c k -ab  ")

	var bad *schemas.ContractError
	if err := r.s.Send(t.Context(), r.s.ToAgent("a", schemas.ErrorReply{}, agents.Via("b", "No Name"))); !errors.As(err, &bad) || bad.Header != "ce_route" {
		t.Error(err)
	}
	if err := r.s.Send(t.Context(), r.s.ToAgent("a", schemas.ErrorReply{}, agents.Via(slices.Repeat([]string{"b"}, 257)...))); !errors.As(err, &bad) {
		t.Error(err)
	}
	// One that comes from elsewhere, and an agent that there is not.
	rec := &kgo.Record{Topic: "parley.inbox.a", Value: []byte{0, 0, 0, 0, 1, 0, 0}}
	for _, h := range [][2]string{{"ce_specversion", "1.0"}, {"ce_id", "i"}, {"ce_source", "s"}, {"ce_type", "agent.error"}, {"ce_route", "b,No"}} {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	if err := r.c.Client(t).ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if reason, _ := r.dead(t, "a"); reason != "contract" {
		t.Error(reason)
	}
	r.send(t, "b", "-", agents.Via("nobody"))
	if reason, text := r.dead(t, "b"); reason != "no_route" || !strings.Contains(text, "parley.inbox.nobody, which does not exist") {
		t.Error(reason, text)
	}
}
