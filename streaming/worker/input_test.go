package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// headers of a message as a neighbour writes them.
func headers(kv ...string) []kgo.RecordHeader {
	var hs []kgo.RecordHeader
	for i := 0; i < len(kv); i += 2 {
		hs = append(hs, kgo.RecordHeader{Key: kv[i], Value: []byte(kv[i+1])})
	}
	return hs
}

func value(t *testing.T, p *agents.Platform, v schemas.Message) []byte {
	t.Helper()
	b, err := p.Codec().Encode(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// eventually waits for a condition that other goroutines or processes bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // polls a condition on the fake broker
	}
}

func TestBadInputIsDeadLetteredWithItsReasonAndItsBytes(t *testing.T) {
	inEachMode(t, testBadInputIsDeadLetteredWithItsReasonAndItsBytes)
}

func testBadInputIsDeadLetteredWithItsReasonAndItsBytes(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		return nil
	})
	start(t, p, a)

	good := value(t, p, &schemas.ErrorReply{Reason: "r", Message: "m"})
	id := func(s string, more ...string) []kgo.RecordHeader {
		return headers(append([]string{"ce_specversion", "1.0", "ce_id", s, "ce_source", "neighbour", "ce_type", "agent.error"}, more...)...)
	}
	cases := map[string]struct {
		rec  kgo.Record
		want streaming.Reason
	}{
		"cut":        {kgo.Record{Value: good[:len(good)-1], Headers: id("cut")}, streaming.ReasonDecode},
		"trailing":   {kgo.Record{Value: append(append([]byte{}, good...), 0), Headers: id("trailing")}, streaming.ReasonDecode},
		"unframed":   {kgo.Record{Value: []byte("hello"), Headers: id("unframed")}, streaming.ReasonDecode},
		"schema":     {kgo.Record{Value: append([]byte{0, 0, 0, 99, 99}, good[5:]...), Headers: id("schema")}, streaming.ReasonSchema},
		"no id":      {kgo.Record{Value: good, Headers: headers("ce_specversion", "1.0", "ce_source", "n", "ce_type", "agent.error")}, streaming.ReasonContract},
		"wrong type": {kgo.Record{Value: value(t, p, &schemas.Ack{}), Headers: id("wrong-type")}, streaming.ReasonContract},
		"recipient":  {kgo.Record{Value: good, Headers: id("recipient", "ce_recipient", "other")}, streaming.ReasonContract},
		"hops":       {kgo.Record{Value: good, Headers: id("hops", "ce_hops", "0")}, streaming.ReasonHops},
		"expired":    {kgo.Record{Value: good, Headers: id("expired", "ce_expirytime", "2020-01-01T00:00:00Z")}, streaming.ReasonExpired},
		"no handler": {kgo.Record{Value: good, Headers: headers("ce_specversion", "1.0", "ce_id", "nh", "ce_source", "n", "ce_type", "no.such")}, streaming.ReasonNoHandler},
		"empty":      {kgo.Record{Headers: id("empty")}, streaming.ReasonContract},
	}
	cl := c.Client(t)
	for name, tc := range cases {
		rec := tc.rec
		rec.Topic, rec.Key = "parley.inbox.taker", []byte(name)
		if err := cl.ProduceSync(t.Context(), &rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	// The partitions go on: a good message behind each of them is handled.
	for name := range cases {
		rec := kgo.Record{Topic: "parley.inbox.taker", Key: []byte(name), Value: good, Headers: id("good-" + name)}
		if err := cl.ProduceSync(t.Context(), &rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	got.await(t, len(cases))
	var dead []*kgo.Record
	eventually(t, "every bad record is dead", func() bool {
		dead = c.ReadAll(t, "parley.inbox.taker.dlq.taker")
		return len(dead) >= len(cases)
	})
	for _, d := range dead {
		tc := cases[string(d.Key)]
		hop := map[string]string{}
		for _, h := range d.Headers {
			hop[h.Key] = string(h.Value)
		}
		if hop["parley-reason"] != string(tc.want) {
			t.Errorf("%s: reason %s, want %s (%s)", d.Key, hop["parley-reason"], tc.want, hop["parley-error"])
		}
		if string(d.Value) != string(tc.rec.Value) {
			t.Errorf("%s: the value was changed", d.Key)
		}
		for i, h := range tc.rec.Headers {
			if d.Headers[i].Key != h.Key || string(d.Headers[i].Value) != string(h.Value) {
				t.Errorf("%s: header %d was changed", d.Key, i)
			}
		}
	}
	if len(dead) != len(cases) {
		t.Errorf("%d dead letters for %d bad records", len(dead), len(cases))
	}
}

func TestStreamsSkipWhatIsNotForTheAgent(t *testing.T) {
	inEachMode(t, testStreamsSkipWhatIsNotForTheAgent)
}

func testStreamsSkipWhatIsNotForTheAgent(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	a := agents.New("taker", agents.Config{Streams: []string{"news"}, Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		return nil
	})
	stop := start(t, p, a)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Send(t.Context(),
		s.ToStream("news", &schemas.Ack{}, agents.Key("k")),
		s.ToStream("news", &schemas.ErrorReply{}, agents.Key("k"), func(o *streaming.Outgoing) { o.Envelope.Recipient = "other" }),
		s.ToStream("news", &schemas.ErrorReply{}, agents.Key("k"), agents.ID("mine")),
	); err != nil {
		t.Fatal(err)
	}
	got.await(t, 1)
	stop()
	if fmt.Sprint(got.order) != "[mine]" {
		t.Errorf("handled %v", got.order)
	}
	offsets, err := kadm.NewClient(c.Client(t)).FetchOffsets(t.Context(), "taker")
	if err != nil {
		t.Fatal(err)
	}
	committed := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == "parley.events.news" {
			committed += o.At
		}
	})
	if committed != 3 {
		t.Errorf("%d of 3 records of the stream are committed", committed)
	}
}

func TestAcksReachTheSender(t *testing.T) { inEachMode(t, testAcksReachTheSender) }

func testAcksReachTheSender(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	acks := newSeen()
	giver := agents.New("giver", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(giver, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
		acks.add(m.Payload.Mode + " " + m.Payload.Messageid)
		return nil
	})
	start(t, p, giver)
	taker := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
	agents.On(taker, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error { return nil })
	start(t, p, taker)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Send(t.Context(),
		s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID("a"), agents.Ack(streaming.AckHandled)),
		s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID("b"), agents.Ack(streaming.AckDelivered)),
		s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID("c")),
	); err != nil {
		t.Fatal(err)
	}
	acks.await(t, 2)
	if acks.count["handled a"] != 1 || acks.count["delivered b"] != 1 {
		t.Errorf("acks: %v", acks.count)
	}
}

func TestTwoInstancesShareTheKeysInOrder(t *testing.T) {
	inEachMode(t, testTwoInstancesShareTheKeysInOrder)
}

func testTwoInstancesShareTheKeysInOrder(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	make := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if got.add(m.Key+" "+m.ID()) == 1 && strings.HasSuffix(m.ID(), "7") {
				return errors.New("once")
			}
			return nil
		})
		return a
	}
	start(t, p, make())
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	const n = 600
	for i := range n {
		if i == 200 {
			defer start(t, p, make())() // joins in the middle
		}
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(fmt.Sprintf("%04d", i)), agents.Key(fmt.Sprint(i%20)))); err != nil {
			t.Fatal(err)
		}
	}
	distinct := func() int {
		got.mu.Lock()
		defer got.mu.Unlock()
		return len(got.count)
	}
	eventually(t, "every message is handled", func() bool { return distinct() == n })
	eventually(t, "nothing waits", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		for id, count := range got.count {
			if strings.HasSuffix(id, "7") && count < 2 {
				return false
			}
		}
		return true
	})
	got.mu.Lock()
	defer got.mu.Unlock()
	last := map[string]string{}
	for _, entry := range got.order {
		key, id, _ := strings.Cut(entry, " ")
		if id < last[key] {
			t.Errorf("key %s: %s after %s", key, id, last[key])
		}
		last[key] = id
	}
}

func TestOffsetsLostToRetentionAreNotSkipped(t *testing.T) {
	inEachMode(t, testOffsetsLostToRetentionAreNotSkipped)
}

func testOffsetsLostToRetentionAreNotSkipped(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	make := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			got.add(m.ID())
			return nil
		})
		return a
	}
	stop := start(t, p, make())
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	send := func(n int) {
		for range n {
			if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.Key("k"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(3)
	got.await(t, 3)
	stop()
	send(5)
	adm := kadm.NewClient(c.Client(t))
	ends, err := adm.ListEndOffsets(t.Context(), "parley.inbox.taker")
	if err != nil {
		t.Fatal(err)
	}
	var below kadm.Offsets
	ends.Each(func(o kadm.ListedOffset) { below.AddOffset(o.Topic, o.Partition, o.Offset, -1) })
	if _, err := adm.DeleteRecords(t.Context(), below); err != nil {
		t.Fatal(err)
	}
	err = p.Run(t.Context(), make())
	var lost *kafka.OffsetLostError
	if !errors.As(err, &lost) {
		t.Fatalf("the agent goes on: %v", err)
	}
	if !strings.Contains(err.Error(), "5 records were deleted before they were read") || strings.Contains(err.Error(), "\n") {
		t.Errorf("not one clear line: %v", err)
	}
}

func TestTopicsThatBreakAPromiseAreRefused(t *testing.T) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	adm := kadm.NewClient(c.Client(t))
	make := func(name string) *agents.Agent { return agents.New(name, agents.Config{Retry: quick}) }
	if _, err := adm.CreateTopic(t.Context(), 3, 1, nil, "parley.inbox.a"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, "parley.inbox.a.dlq.a"); err != nil {
		t.Fatal(err)
	}
	err := p.Run(t.Context(), make("a"))
	var wrong *kafka.TopicMismatchError
	if !errors.As(err, &wrong) {
		t.Fatalf("started on a topic that breaks a promise: %v", err)
	}
	for _, want := range []string{"partition count", "retention.ms", "max.message.bytes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named: %v", want, err)
		}
	}

	only, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, CheckTopicsOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = only.Run(t.Context(), make("b"))
	var missing *kafka.TopicMissingError
	if !errors.As(err, &missing) || len(missing.Topics) != 6 {
		t.Errorf("without the right to create topics: %v", err)
	}
}

func TestMessagesInATierThatIsNoLongerNamedAreNotStranded(t *testing.T) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	make := func(tier time.Duration) *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: retry.Policy{Tiers: []time.Duration{tier}}})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			got.add(m.ID())
			return errors.New("later")
		})
		return a
	}
	stop := start(t, p, make(time.Hour))
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message waits in its tier", func() bool {
		return len(c.ReadAll(t, "parley.inbox.taker.retry-1h.taker")) == 1
	})
	stop()
	err = p.Run(t.Context(), make(time.Minute))
	var stranded *worker.StrandedError
	if !errors.As(err, &stranded) || stranded.Messages != 1 {
		t.Errorf("the waiting message is forgotten: %v", err)
	}
}

// A worker that is slow to take over partitions it has lost again claims late.
func TestALateClaimDoesNotVoidTheOwnersMarks(t *testing.T) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	got := newSeen()
	make := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			got.add(m.ID())
			return nil
		})
		return a
	}
	stop := start(t, p, make())
	claim, err := schemas.EncodeMarks(t.Context(), p.Codec(), []streaming.Mark{{Kind: streaming.MarkClaim, Epoch: 99, Origin: -1}})
	if err != nil {
		t.Fatal(err)
	}
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for partition := range int32(3) {
		rec := &kgo.Record{Topic: "parley.inbox.taker.ledger.taker", Partition: partition, Value: claim}
		if err := cl.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	send := func(id string) {
		if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID(id), agents.Key("k"))); err != nil {
			t.Fatal(err)
		}
	}
	send("once")
	got.await(t, 1)
	stop()
	start(t, p, make())
	send("once")
	send("last")
	got.await(t, 2)
	if fmt.Sprint(got.order) != "[once last]" {
		t.Errorf("handled %v", got.order)
	}
}
