package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// listener is an agent of a stream that says what it has heard.
type listener struct {
	*seen
	t      *testing.T
	p      *agents.Platform
	sender *agents.Sender
}

func newListener(t *testing.T, c *streamtest.Cluster) *listener {
	p := connect(t, c)
	s, err := p.Sender("feed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &listener{newSeen(), t, p, s}
}

func (l *listener) agent(from worker.From, exactlyOnce bool) *agents.Agent {
	a := agents.New("listener", agents.Config{Streams: []string{"talk"}, From: from, ExactlyOnce: exactlyOnce})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		l.add(m.Payload.Message)
		return nil
	})
	return a
}

// say sends one message to each partition, and one to the inbox.
func (l *listener) say(text string) {
	l.t.Helper()
	for i := range 12 {
		if err := l.sender.Send(l.t.Context(), l.sender.ToStream("talk", &schemas.ErrorReply{Message: text}, agents.Key(fmt.Sprint(i)))); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for text, n := range l.count {
		all = append(all, fmt.Sprintf("%s %d", text, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func topic(t *testing.T, c *streamtest.Cluster, name string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(c.Client(t)).CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
}

func TestANewGroupBeginsAtTheEnd(t *testing.T) { inEachMode(t, testANewGroupBeginsAtTheEnd) }

func testANewGroupBeginsAtTheEnd(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	l := newListener(t, c)
	topic(t, c, "parley.events.talk", 3)
	topic(t, c, "parley.inbox.listener", 3)
	l.say("before")
	if err := l.sender.Send(t.Context(), l.sender.ToAgent("listener", &schemas.ErrorReply{Message: "inbox"})); err != nil {
		t.Fatal(err)
	}
	stop := start(t, l.p, l.agent(worker.FromEnd, exactlyOnce))
	l.await(t, 1) // of the inbox, which is read from its start
	l.say("first")
	l.await(t, 13)
	stop()
	l.say("away") // while nobody is there
	stop = start(t, l.p, l.agent(worker.FromEnd, exactlyOnce))
	l.await(t, 25)
	stop()
	if got := l.heard(); got != "away 12, first 12, inbox 1" {
		t.Errorf("heard %s", got)
	}
	// Another group begins at the start.
	l.seen = newSeen()
	b := agents.New("other", agents.Config{Streams: []string{"talk"}, ExactlyOnce: exactlyOnce})
	agents.On(b, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		l.add(m.Payload.Message)
		return nil
	})
	start(t, l.p, b)
	l.await(t, 36)
	if got := l.heard(); got != "away 12, before 12, first 12" {
		t.Errorf("the group from the start has heard %s", got)
	}
}

// A first start that ends at any request has fixed the end or has not: what is sent
// after it has is heard, whoever reads it then.
func TestTheEndIsFixedOnce(t *testing.T) {
	c := streamtest.NewCluster(t)
	l := newListener(t, c)
	topic(t, c, "parley.events.talk", 3)
	l.say("before")
	w, err := l.p.Worker(l.agent(worker.FromEnd, false))
	if err != nil {
		t.Fatal(err)
	}
	// The process ends as soon as the offsets are committed, before it has joined.
	adm := kadm.NewClient(c.Client(t))
	committed := func() (n int) {
		offsets, err := adm.FetchOffsets(t.Context(), "listener")
		if err != nil {
			return 0
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.Topic == "parley.events.talk" && o.At >= 0 {
				n++
			}
		})
		return n
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); committed() < 3 && time.Now().Before(deadline); {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	l.say("between")
	start(t, l.p, l.agent(worker.FromEnd, false))
	l.await(t, 12)
	if got := l.heard(); got != "between 12" {
		t.Errorf("heard %s", got)
	}
	if err := (worker.Config{From: "middle"}).Validate(); err == nil || !strings.Contains(err.Error(), `from "middle": use start or end`) {
		t.Errorf("from the middle: %v", err)
	}
}

// Of a group that works already nothing is fixed, and nothing is lost: neither where
// a mark stands in its ledger and its offsets are gone.
func TestAGroupThatHasReadKeepsItsPlace(t *testing.T) {
	c := streamtest.NewCluster(t)
	l := newListener(t, c)
	topic(t, c, "parley.events.talk", 3)
	stop := start(t, l.p, l.agent(worker.FromStart, false))
	l.say("first")
	l.await(t, 12)
	stop()
	l.say("away")
	if _, err := kadm.NewClient(c.Client(t)).DeleteGroup(t.Context(), "listener"); err != nil {
		t.Fatal(err)
	}
	start(t, l.p, l.agent(worker.FromEnd, false))
	l.await(t, 24)
	if got := l.heard(); got != "away 12, first 12" {
		t.Errorf("heard %s", got)
	}
}
