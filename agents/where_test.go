package agents_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

func TestWhereIsRefusedAtTheStart(t *testing.T) {
	s := newStaffed(t)
	for expression, want := range map[string]string{
		"payload.magnitud >= 5.0":    "undefined field 'magnitud'",
		"payload.magnitude > 'five'": "no matching overload",
		"payload.magnitude":          "its result is wrapper(double) instead of bool",
		"headers == 'x'":             "undeclared reference to 'headers'",
		"":                           "Syntax error",
	} {
		a := agents.New("picky", agents.Config{})
		agents.On(a, func(context.Context, *agents.Message[quake.Reported]) error { return nil }, agents.Where(expression))
		_, err := s.Worker(a)
		var bad *schemas.FilterError
		if !errors.As(err, &bad) || bad.Type != "quake.reported" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", expression, err, want)
		}
	}
}

func TestWhatDoesNotMatchIsSkipped(t *testing.T) {
	s := newStaffed(t)
	var mu sync.Mutex // handlers of two topics run side by side
	var got []string
	done := make(chan struct{})
	a := agents.New("picky", agents.Config{Streams: []string{"talk"}, Retry: soon, Parallel: 1})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m.Payload.Message)
		if m.Payload.Message == "last" {
			close(done)
		}
		return nil
	}, agents.Where("payload.reason == 'yes' && type == 'agent.error' && source == 'tester' && kind in ['event', 'command'] && key == 'k' && correlationid != '' && recipient in ['', 'picky']"))
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
		return errors.New("no") // one that matches is tried, and dead as ever
	}, agents.Where("1 / (int(payload.mode) - 1) > 0"))
	other := agents.New("other", agents.Config{Streams: []string{"talk"}})
	agents.On(other, func(context.Context, *agents.Message[schemas.ErrorReply]) error { return nil })
	s.start(t, a)
	s.start(t, other)
	k := agents.Key("k")
	wants := agents.Ack(streaming.AckHandled)
	send := func(drafts ...agents.Draft) {
		t.Helper()
		if err := s.sender.Send(t.Context(), drafts...); err != nil {
			t.Fatal(err)
		}
	}
	for i, reason := range []string{"no", "yes", "no", "yes"} {
		m := &schemas.ErrorReply{Reason: reason, Message: string(rune('a' + i))}
		send(s.sender.ToStream("talk", m, k), s.sender.ToAgent("picky", m, k, wants, agents.ID("in-"+m.Message)))
	}
	send(
		s.sender.ToAgent("picky", &schemas.ErrorReply{Reason: "yes", Message: "other key"}, agents.Key("l")),
		s.sender.ToAgent("picky", &schemas.Ack{Mode: "1"}, k), // a division by zero
		s.sender.ToAgent("picky", &schemas.Ack{Mode: "2"}, k),
		s.sender.ToAgent("picky", &schemas.Ack{Mode: "0"}, k),
		s.sender.ToAgent("picky", &schemas.AgentControl{}, k), // no handler
		s.sender.ToStream("talk", &schemas.AgentControl{}, k),
	)
	send(s.sender.ToAgent("picky", &schemas.ErrorReply{Reason: "no", Message: "answer"}, k, agents.Kind(streaming.KindReply)))
	recs, err := s.sender.Records(t.Context(), s.sender.ToAgent("picky", &schemas.ErrorReply{Reason: "no"}, k))
	if err != nil {
		t.Fatal(err)
	}
	recs[0].Value = recs[0].Value[:6] // of which no filter can say anything
	if err := errors.Join(s.sender.Forward(t.Context(), recs...)...); err != nil {
		t.Fatal(err)
	}
	send(s.sender.ToAgent("picky", &schemas.ErrorReply{Reason: "yes", Message: "last"}, k))
	<-done
	mu.Lock()
	defer mu.Unlock()
	if all := strings.Join(got, " "); strings.Count(all, "b") != 2 || strings.Count(all, "d") != 2 || len(got) != 6 {
		t.Errorf("handled %s", all)
	}
	reasons := make(map[streaming.Reason]int)
	for _, rec := range s.dead(t, "picky", 4) {
		_, hop, _, _ := schemas.SplitHop(rec.Headers)
		reasons[hop.Reason]++
		if hop.Reason == streaming.ReasonPermanent && !strings.Contains(hop.Error, `the filter "1 / (int(payload.mode) - 1) > 0" of agent.ack: division by zero`) {
			t.Errorf("not evaluated: %s", hop.Error)
		}
	}
	if reasons[streaming.ReasonPermanent] != 1 || reasons[streaming.ReasonHandler] != 1 || reasons[streaming.ReasonNoHandler] != 1 || reasons[streaming.ReasonDecode] != 1 {
		t.Errorf("dead letters for %v", reasons)
	}
	if n := s.counted(t, "parley_skipped_total", "agent=picky", "topic=parley.inbox.picky"); n != 4 {
		t.Errorf("%v skipped in the inbox", n)
	}
	if n := s.counted(t, "parley_skipped_total", "agent=picky", "topic=parley.events.talk"); n != 3 {
		t.Errorf("%v skipped on the stream", n)
	}
	s.await(t, "all is settled", func() bool { return s.counted(t, "parley_in_flight", "agent=picky") == 0 })

	log, err := kafka.NewLog(kafka.Config{Brokers: s.Brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	group := audit.Group{Agent: "picky", Streams: []string{"talk"}, Types: a.Types(), Filters: a.Filters()}
	auditor, err := audit.New(t.Context(), log, s.Codec(), group)
	if err != nil {
		t.Fatal(err)
	}
	var report *audit.Report
	s.await(t, "all is committed", func() bool {
		report, err = auditor.Read(t.Context(), nil)
		return err != nil || report.Accepted == 17
	})
	if err != nil || report.Conservation() != audit.Exact || report.Skipped != 7 || report.Done != 6 || report.Dead != 4 {
		t.Errorf("%v, %+v: %s", err, report, report.Conservation())
	}
}
