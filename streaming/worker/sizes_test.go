package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// A handler learns at once that what it publishes is too large. Where it returns that,
// or only the broker knows it, its message is dead as too_large, and those beside it
// are done.
func TestAnOutputTooLarge(t *testing.T) { inEachMode(t, testAnOutputTooLarge) }

func testAnOutputTooLarge(t *testing.T, exactlyOnce bool) {
	const smallLimit = 50_000
	c := streamtest.NewCluster(t)
	limit := fmt.Sprint(smallLimit)
	if _, err := kadm.NewClient(c.Client(t)).CreateTopic(t.Context(), 1, -1, map[string]*string{"max.message.bytes": &limit}, "parley.events.small"); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(c.Client(t)).CreateTopic(t.Context(), 1, -1, nil, "parley.events.usual"); err != nil {
		t.Fatal(err)
	}
	p := connect(t, c)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	outputs := map[string]struct {
		stream string
		size   int
		told   int // the limit that Publish names; 0: it takes it
		kept   bool
	}{
		"own":     {"usual", 2 << 20, 1048588, false},
		"ignored": {"usual", 2 << 20, 1048588, true},
		"broker":  {"small", smallLimit + 1000, 0, false},
		"known":   {"small", smallLimit + 1000, smallLimit, false},
		"fits":    {"small", smallLimit - 1000, 0, false},
	}
	published := make(chan error, len(outputs))
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		o := outputs[m.ID()]
		err := m.Publish(o.stream, &schemas.ErrorReply{Message: incompressible(o.size)})
		published <- err
		if o.kept {
			return m.Publish(o.stream, &schemas.ErrorReply{Message: "instead"})
		}
		return err
	})
	start(t, p, a)
	for _, id := range []string{"own", "ignored", "broker", "known", "fits"} {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key("k"))); err != nil {
			t.Fatal(err)
		}
		err := <-published
		var large *streaming.RecordTooLargeError
		o := outputs[id]
		if o.told == 0 != (err == nil) || err != nil && (!errors.As(err, &large) || large.Limit != o.told || large.Size < o.size) {
			t.Errorf("%s: Publish says %v (%+v), want a limit of %d", id, err, large, o.told)
		}
		if id == "broker" { // what the broker said is known when the message is dead
			eventually(t, "it is dead", func() bool { return len(dead(t, c)) == 2 })
		}
	}
	eventually(t, "three are dead", func() bool { return len(dead(t, c)) == 3 })
	for _, r := range dead(t, c) {
		var id, reason, text string
		for _, h := range r.Headers {
			switch h.Key {
			case schemas.HeaderID:
				id = string(h.Value)
			case schemas.HeaderReason:
				reason = string(h.Value)
			case schemas.HeaderError:
				text = string(h.Value)
			}
		}
		t.Log(id, reason, text)
		if reason != string(streaming.ReasonTooLarge) || id == "fits" || id == "ignored" {
			t.Errorf("%s is dead as %s: %s", id, reason, text)
		}
	}
	eventually(t, "what fits is sent", func() bool {
		return len(c.ReadAll(t, "parley.events.usual")) == 1 && len(c.ReadAll(t, "parley.events.small")) == 1
	})
}

func dead(t *testing.T, c *streamtest.Cluster) []*kgo.Record {
	t.Helper()
	return c.ReadAll(t, streaming.DeadLetterTopic("parley.inbox.taker", "taker"))
}

// A partition with a batch that cannot be unpacked stands still and says so; the worker
// goes on with the others and ends as it is told to.
func TestAPartitionThatStandsStill(t *testing.T) { inEachMode(t, testAPartitionThatStandsStill) }

func testAPartitionThatStandsStill(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		return nil
	})
	stop := start(t, p, a)
	const (
		keys     = 30 // in all of the three partitions
		bombSize = 65 << 20
	)
	for i := range keys {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(fmt.Sprint("a", i)), agents.Key(fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	got.await(t, keys)
	bomb := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(1<<28), kgo.BrokerMaxWriteBytes(1<<29))
	if err := bomb.ProduceSync(t.Context(), &kgo.Record{Topic: "parley.inbox.taker", Partition: 1, Value: make([]byte, bombSize)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(fmt.Sprint("b", i)), agents.Key(fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	behind, beyond := 0, false
	for _, r := range c.ReadAll(t, "parley.inbox.taker") {
		if r.Partition == 1 && beyond {
			behind++
		}
		beyond = beyond || len(r.Value) == bombSize
	}
	if behind == 0 || behind == keys {
		t.Fatalf("%d of %d messages stand behind the bomb", behind, keys)
	}
	eventually(t, "the others are handled", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		return len(got.order) == 2*keys-behind
	})
	stop()
}
