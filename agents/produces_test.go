package agents_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestOnlyDeclaredOutputsAreStaged(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	tried := make(chan map[string]error, 1)
	a := agents.New("sorter", agents.Config{Retry: once})
	agents.Produces[quake.Alert](a, agents.ToStream("alerts"), agents.AsReply())
	agents.On(a, func(_ context.Context, m *agents.Message[quake.Dispatch]) error {
		tried <- map[string]error{
			"stream":       m.Publish("alerts", &quake.Alert{}),
			"reply":        m.Reply(&quake.Alert{}),
			"other stream": m.Publish("other", &quake.Alert{}),
			"agent":        m.Send("asker", &quake.Alert{}),
			"other type":   m.Publish("alerts", &quake.Dispatch{}),
			"other reply":  m.Reply(&quake.Dispatch{}),
		}
		return nil
	})
	reader := agents.New("reader", agents.Config{Streams: []string{"alerts", "other"}})
	got := make(chan string, 9)
	agents.On(reader, func(_ context.Context, m *agents.Message[quake.Alert]) error {
		got <- m.Envelope.Source
		return nil
	})
	asker := agents.New("asker", agents.Config{})
	agents.On(asker, func(_ context.Context, m *agents.Message[quake.Alert]) error {
		got <- "reply of " + m.Envelope.Source
		return nil
	})
	for _, running := range []*agents.Agent{reader, asker, a} {
		start(t, p, running)
	}
	sender, err := p.Sender("asker")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if err := sender.Send(t.Context(), sender.ToAgent("sorter", &quake.Dispatch{})); err != nil {
		t.Fatal(err)
	}
	errs := receive(t, tried)
	for _, what := range []string{"stream", "reply"} {
		if errs[what] != nil {
			t.Errorf("%s: %v", what, errs[what])
		}
	}
	for what, want := range map[string]string{
		"other stream": `agent sorter does not declare that it sends quake.alert to stream:other: add agents.Produces[quake.Alert](a, agents.ToStream("other"))`,
		"agent":        `agent sorter does not declare that it sends quake.alert to inbox:asker: add agents.Produces[quake.Alert](a, agents.ToAgent("asker"))`,
		"other type":   `agent sorter does not declare that it sends quake.dispatch to stream:alerts: add agents.Produces[quake.Dispatch](a, agents.ToStream("alerts"))`,
		"other reply":  `agent sorter does not declare that it sends quake.dispatch to reply: add agents.Produces[quake.Dispatch](a, agents.AsReply())`,
	} {
		e, ok := errors.AsType[*agents.UndeclaredError](errs[what])
		if !ok || e.Error() != want {
			t.Errorf("%s: %v, want %s", what, errs[what], want)
		}
	}
	seen := map[string]bool{receive(t, got): true, receive(t, got): true}
	if !seen["sorter"] || !seen["reply of sorter"] || len(got) > 0 {
		t.Errorf("got %v and %d more, want what is declared", seen, len(got))
	}
}

func TestAnUndeclaredOutputFailsTheHandler(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	a := agents.New("sink", agents.Config{Retry: once})
	agents.ProducesNothing(a)
	agents.On(a, func(_ context.Context, m *agents.Message[quake.Alert]) error { return m.Publish("alerts", &m.Payload) })
	start(t, p, a)
	sender, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if err := sender.Send(t.Context(), sender.ToAgent("sink", &quake.Alert{})); err != nil {
		t.Fatal(err)
	}
	h := onlyHeaders(t, c, "parley.inbox.sink.dlq.sink")
	if h["parley-reason"] != "handler" || !strings.Contains(h["parley-error"], "agents.ToStream(\"alerts\")") {
		t.Errorf("dead letter %v", h)
	}
}

func TestContractOfAnAgent(t *testing.T) {
	t.Parallel()
	a := agents.New("sorter", agents.Config{Streams: []string{"quakes", "b", "quakes"}, Group: "sorters"})
	agents.On(a, func(context.Context, *agents.Message[nameV2]) error { return nil })
	agents.Upcast(a, func(context.Context, *nameV1) (nameV2, error) { return nameV2{}, nil })
	agents.On(a, func(context.Context, *agents.Message[schemas.Ack]) error { return nil })
	if c := a.Contract(); !c.Undeclared || c.Produces != nil {
		t.Errorf("without a declaration: %+v", c)
	}
	agents.Produces[quake.Alert](a, agents.ToStream("alerts"))
	agents.Produces[quake.Alert](a, agents.AsReply(), agents.ToAgent("notify"))
	c := a.Contract()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	text := func(ports []contract.Port) string {
		var all []string
		for _, p := range ports {
			for _, at := range p.At {
				all = append(all, p.Type+" "+at.String())
			}
		}
		return strings.Join(all, ", ")
	}
	at := func(messageType string) string {
		return messageType + " inbox:sorter, " + messageType + " stream:b, " + messageType + " stream:quakes"
	}
	if got, want := text(c.Consumes), strings.Join([]string{at("agent.ack"), at("test.name"), at("test.name.v2")}, ", "); got != want {
		t.Errorf("consumes %s\nwant %s", got, want)
	}
	if got, want := text(c.Produces), "quake.alert inbox:notify, quake.alert reply, quake.alert stream:alerts"; got != want {
		t.Errorf("produces %s\nwant %s", got, want)
	}
	if c.Agent != "sorter" || c.GroupName() != "sorters" || c.Undeclared {
		t.Errorf("contract %+v", c)
	}
}

func TestDeclarationsThatAreWrong(t *testing.T) {
	t.Parallel()
	p := connect(t, streamtest.NewCluster(t))
	v2 := func(context.Context, *nameV1) (nameV2, error) { return nameV2{}, nil }
	for name, c := range map[string]struct {
		declare func(*agents.Agent)
		want    []string
	}{
		"no destination": {func(a *agents.Agent) { agents.Produces[quake.Alert](a) }, []string{"the output quake.alert has no destination"}},
		"no name":        {func(a *agents.Agent) { agents.Produces[quake.Alert](a, agents.ToStream("A b")) }, []string{"the output quake.alert: stream: the name"}},
		"two handlers": {func(a *agents.Agent) {
			agents.On(a, func(context.Context, *agents.Message[nameV1]) error { return nil })
			agents.On(a, func(context.Context, *agents.Message[nameV2]) error { return nil })
			agents.Upcast(a, v2)
		}, []string{"two handlers for test.name"}},
		"upcast to nowhere": {func(a *agents.Agent) { agents.Upcast(a, v2) }, []string{"the upcaster from test.name leads to test.name.v2, which has no handler"}},
		"circle": {func(a *agents.Agent) {
			agents.Upcast(a, v2)
			agents.Upcast(a, func(context.Context, *nameV2) (nameV3, error) { return nameV3{}, nil })
			agents.Upcast(a, func(context.Context, *nameV3) (nameV1, error) { return nameV1{}, nil })
		}, []string{"upcasters go in a circle, test.name → test.name.v2 → test.name.v3 → test.name: remove one of them", "in a circle"}},
		"itself": {func(a *agents.Agent) {
			agents.Upcast(a, func(_ context.Context, old *nameV1) (nameV1, error) { return *old, nil })
		}, []string{"upcasters go in a circle, test.name → test.name"}},
		"into a circle": {func(a *agents.Agent) {
			agents.Upcast(a, v2)
			agents.Upcast(a, func(context.Context, *nameV2) (nameV3, error) { return nameV3{}, nil })
			agents.Upcast(a, func(context.Context, *nameV3) (nameV2, error) { return nameV2{}, nil })
		}, []string{"upcasters go in a circle, test.name.v2 → test.name.v3 → test.name.v2"}},
		"another Go type": {func(a *agents.Agent) {
			agents.On(a, func(context.Context, *agents.Message[otherV2]) error { return nil })
			agents.Upcast(a, v2)
		}, []string{"the upcaster from test.name to test.name.v2 makes agents_test.nameV2, and the handler takes agents_test.otherV2"}},
		"all at once": {func(a *agents.Agent) { agents.Produces[quake.Alert](a); agents.Upcast(a, v2) }, []string{"no destination", "no handler"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := agents.New("wrong", agents.Config{})
			c.declare(a)
			_, err := p.Worker(a)
			if err == nil {
				t.Fatal("it starts")
			}
			for _, want := range c.want {
				if strings.Count(err.Error(), want) != 1 {
					t.Errorf("%v\nwant once: %s", err, want)
				}
			}
		})
	}
}

// otherV2 is another Go type of a message type.
type otherV2 struct{ nameV2 }
