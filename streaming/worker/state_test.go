package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// counter is an agent that counts the messages of each key in its state, and
// says the count to "hearer".
func counter(s *stepper, handle func(m message, count int) error) *agents.Agent {
	a := agents.New("taker", s.cfg)
	counts := agents.Keep[schemas.ErrorReply](a, "count")
	agents.On(a, func(ctx context.Context, m message) error {
		state, _, err := counts.Get(ctx, m)
		if err != nil {
			return err
		}
		n := 0
		if _, err := fmt.Sscan(state.Message, &n); state.Message != "" && err != nil {
			return err
		}
		if m.Payload.Reason == "forget" {
			return counts.Forget(m)
		}
		if err := counts.Set(ctx, m, schemas.ErrorReply{Message: fmt.Sprint(n + 1)}); err != nil {
			return err
		}
		return handle(m, n+1)
	})
	return a
}

func (s *stepper) sendTo(key, reason string, ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		if err := s.sends.Send(s.t.Context(), s.sends.ToAgent("taker", &schemas.ErrorReply{Reason: reason}, agents.ID(id), agents.Key(key))); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestStateIsKeptPerKeyAcrossARestart(t *testing.T) { inEachMode(t, testStateIsKept) }

func testStateIsKept(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	said := newSeen()
	tell := func(m message, n int) error {
		if m.ID() == "a2" && m.Attempt == 1 {
			return errors.New("what this attempt has set must not count")
		}
		said.add(fmt.Sprintf("%s=%d", m.ID(), n))
		return nil
	}
	stop := start(t, s.p, counter(s, tell))
	s.sendTo("a", "", "a1", "a2", "a3")
	s.sendTo("b", "", "b1")
	said.await(t, 4)
	stop()
	start(t, s.p, counter(s, tell))
	s.sendTo("a", "", "a4", "a4", "a5")
	s.sendTo("b", "forget", "b2")
	s.sendTo("b", "", "b3")
	said.await(t, 7)
	want := map[string]int{"a1=1": 1, "a2=2": 1, "a3=3": 1, "b1=1": 1, "a4=4": 1, "a5=5": 1, "b3=1": 1}
	said.mu.Lock()
	defer said.mu.Unlock()
	if fmt.Sprint(said.count) != fmt.Sprint(want) {
		t.Errorf("said %v, want %v", said.count, want)
	}
}

// A message that comes again after the ledger has forgotten it counts as another
// one: it must not find the state as it was before any message.
func TestAForgottenMessageFindsTheStateOfToday(t *testing.T) { inEachMode(t, testAForgottenMessage) }

func testAForgottenMessage(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	s.cfg.LedgerSize = 4
	said := newSeen()
	start(t, s.p, counter(s, func(m message, n int) error { said.add(fmt.Sprintf("%s=%d", m.ID(), n)); return nil }))
	s.sendTo("a", "", "a1", "a2")
	const others = 300 // a hundred in each partition, about, over some commits
	for i := range others {
		s.sendTo(fmt.Sprint("b", i), "", fmt.Sprint("b", i))
	}
	said.await(t, 2+others)
	s.sendTo("a", "", "a2", "a3")
	said.await(t, 4+others)
	said.mu.Lock()
	defer said.mu.Unlock()
	if said.count["a2=2"] != 1 || said.count["a2=3"] != 1 || said.count["a3=4"] != 1 {
		t.Errorf("said %v", said.count)
	}
}

// A worker that died after the state was written and before the message was
// marked: the message is handled again, on the state as it was before it.
func TestARepeatedRunStartsFromTheStateBefore(t *testing.T) { inEachMode(t, testARepeatedRun) }

func testARepeatedRun(t *testing.T, exactlyOnce bool) {
	s := newStepper(t, exactlyOnce)
	said := newSeen()
	tell := func(m message, n int) error { said.add(fmt.Sprintf("%s=%d", m.ID(), n)); return nil }
	stop := start(t, s.p, counter(s, tell))
	s.sendTo("a", "", "a1")
	said.await(t, 1)
	stop()
	recs := s.c.ReadAll(t, "parley.inbox.taker.state.taker")
	if len(recs) != 1 || string(recs[0].Key) != "count/a" {
		t.Fatalf("the state topic holds %v", recs)
	}
	encode := func(n string) []byte {
		value, err := s.p.Codec().Encode(t.Context(), schemas.ErrorReply{Message: n})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	write := func(e schemas.StateEntry) {
		e.Name = "count/a"
		rec := schemas.StateRecord(recs[0].Topic, recs[0].Partition, &e)
		r := &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Key: rec.Key, Value: rec.Value}
		for _, h := range rec.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		cl := s.c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	write(schemas.StateEntry{Value: encode("2"), Previous: encode("1"), Writer: streaming.HashID("giver", "a2"), Version: 2})
	// And a worker that was frozen before has written over it.
	write(schemas.StateEntry{Value: encode("77"), Previous: encode("76"), Writer: streaming.HashID("giver", "a9"), Version: 1})
	s.sendTo("a", "", "a2", "a3")
	stop = start(t, s.p, counter(s, tell))
	said.await(t, 3)
	stop()
	said.mu.Lock()
	defer said.mu.Unlock()
	if got, want := fmt.Sprint(said.order), "[a1=1 a2=2 a3=3]"; got != want {
		t.Errorf("said %s, want %s", got, want)
	}
}

func TestWhatStateRefuses(t *testing.T) {
	s := newStepper(t, false)
	s.cfg.StateBytes = 100
	s.cfg.Unordered = true
	if _, err := s.p.Worker(counter(s, nil)); err == nil {
		t.Error("an agent without order keeps state")
	}
	s.cfg.Unordered = false
	a := counter(s, nil)
	agents.Keep[schemas.ErrorReply](a, "count")
	if _, err := s.p.Worker(a); err == nil {
		t.Error("two states of one name")
	}
	a = agents.New("taker", s.cfg)
	kept := agents.Keep[schemas.ErrorReply](a, "some")
	agents.On(a, func(ctx context.Context, m message) error {
		err := kept.Set(ctx, m, schemas.ErrorReply{Message: string(make([]byte, 200))})
		var large *streaming.StateTooLargeError
		if !errors.As(err, &large) || large.Limit != 100 {
			t.Errorf("a large state: %v", err)
		}
		return err
	})
	start(t, s.p, a)
	s.send("m")
	if dead := s.deadLetters(1); header(dead[0], "parley-reason") != "permanent" {
		t.Errorf("dead as %v", dead[0].Headers)
	}
}
