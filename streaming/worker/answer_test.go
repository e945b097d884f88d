package worker_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestADuplicateOfARequestGetsTheSameAnswer(t *testing.T) {
	inEachMode(t, testADuplicateOfARequestGetsTheSameAnswer)
}

func testADuplicateOfARequestGetsTheSameAnswer(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	const answers = "parley.events.answers"
	if _, err := kadm.NewClient(c.Client(t)).CreateTopic(t.Context(), 1, 1, nil, answers); err != nil {
		t.Fatal(err)
	}
	var runs atomic.Int64
	make := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce, AnswerBytes: 2000})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			runs.Add(1)
			if err := m.Publish("answers", &schemas.ErrorReply{Message: "seen"}); err != nil {
				return err
			}
			size := 10
			if strings.HasPrefix(m.ID(), "large") {
				size = 3000
			}
			if err := m.Reply(&schemas.ErrorReply{Message: m.ID() + strings.Repeat("x", size)}); err != nil {
				return err
			}
			return m.Reply(&schemas.ErrorReply{Message: "and more"})
		})
		return a
	}
	stop := start(t, p, make())
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	send := func(id string, kind streaming.Kind) {
		t.Helper()
		err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key("k"), agents.Kind(kind),
			func(o *streaming.Outgoing) { o.Envelope.ReplyTo = answers + "/0" }))
		if err != nil {
			t.Fatal(err)
		}
	}
	replies := func() (all []*kgo.Record) {
		for _, r := range c.ReadAll(t, answers) {
			if header(r, "ce_kind") == "reply" {
				all = append(all, r)
			}
		}
		return all
	}
	await := func(n int) []*kgo.Record {
		t.Helper()
		var all []*kgo.Record
		eventually(t, "the answers are there", func() bool { all = replies(); return len(all) >= n })
		if len(all) != n {
			t.Fatalf("%d answers, want %d", len(all), n)
		}
		return all
	}
	send("ask", streaming.KindRequest)
	first := await(2)
	send("ask", streaming.KindRequest)
	await(4)
	stop()
	stop = start(t, p, make()) // another owner answers from the ledger
	send("ask", streaming.KindRequest)
	all := await(6)
	for i, r := range all {
		want := first[i%2]
		if string(r.Value) != string(want.Value) || string(r.Key) != string(want.Key) || !slices.EqualFunc(r.Headers, want.Headers, func(a, b kgo.RecordHeader) bool {
			return a.Key == b.Key && string(a.Value) == string(b.Value)
		}) || !r.Timestamp.Equal(want.Timestamp) {
			t.Errorf("answer %d is not the first again:\n%v\n%v", i, r, want)
		}
	}
	// No request, and an answer over the bound: their duplicates get none.
	for range 2 {
		send("tell", streaming.KindCommand)
		send("large", streaming.KindRequest)
	}
	send("ask", streaming.KindRequest) // behind them
	await(6 + 2 + 2 + 2)
	stop()
	await(12)
	if runs.Load() != 3 {
		t.Errorf("%d runs of 3 messages", runs.Load())
	}
}
