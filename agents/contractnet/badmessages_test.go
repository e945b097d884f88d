package contractnet_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// TestBadMessages: bids and results that another client sends.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{Bids: 4 * time.Second, Work: 10 * time.Second, Remember: time.Second}, "hand", "cold", "slow")
	rejections, awards := make(chan contractnet.Rejection, 10), make(chan contractnet.Award, 10)
	calls := make(chan struct{}, 10)
	for _, name := range []string{"hand", "cold", "slow"} { // agents of somebody else
		a := agents.New(name, agents.Config{})
		agents.On(a, func(context.Context, *agents.Message[contractnet.CallForProposals]) error {
			calls <- struct{}{}
			return nil
		})
		agents.On(a, func(_ context.Context, m *agents.Message[contractnet.Award]) error {
			awards <- m.Payload
			return nil
		})
		agents.On(a, func(_ context.Context, m *agents.Message[contractnet.Rejection]) error {
			rejections <- m.Payload
			return nil
		})
		w.start(a)
	}
	as := func(name string) *agents.Sender {
		s, err := w.Sender(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	hand, cold, slow := as("hand"), as("cold"), as("slow")
	key := agents.Key("Fiji")
	w.send(hand, "boss", &contractnet.Proposal{Name: "visit", Cost: 1}, key)
	w.ignored(contractnet.WhyUnknown, 1)
	w.send(hand, "boss", &contractnet.Proposal{Name: "cook", Cost: 1}, key)
	w.ignored(contractnet.WhyUnknown, 2)
	w.send(w.sender, "boss", &site{Place: "Fiji"})
	<-calls
	w.send(w.sender, "boss", &contractnet.Proposal{Name: "visit"}, key)
	w.ignored(contractnet.WhyNotAsked, 1)
	w.send(cold, "boss", &contractnet.Proposal{Name: "visit", Cost: math.NaN()}, key)
	w.ignored(contractnet.WhyInvalid, 1)
	w.send(hand, "boss", &contractnet.Proposal{Name: "visit", Cost: 3}, key)
	w.send(hand, "boss", &contractnet.Proposal{Name: "visit", Cost: 2}, key)
	w.ignored(contractnet.WhyDuplicate, 1)
	w.send(w.sender, "boss", &contractnet.Deadline{Name: "visit", Due: true}, key)
	w.send(w.sender, "boss", &contractnet.Opening{Name: "visit"}, key)
	w.send(w.sender, "boss", &contractnet.Negotiation{Name: "visit"}, key)
	w.ignored(contractnet.WhyForeign, 3)
	w.send(cold, "boss", &contractnet.Report{Name: "visit", Round: 1, Failed: true}, key)
	w.ignored(contractnet.WhyNotAwarded, 1)
	if r := <-rejections; r.Reason != contractnet.RejectedInvalid || !strings.Contains(r.Text, "NaN") {
		t.Errorf("rejected: %+v", r)
	}
	if a := <-awards; a.Round != 1 || a.Cost != 3 {
		t.Errorf("awarded: %+v", a)
	}
	w.send(slow, "boss", &contractnet.Proposal{Name: "visit", Cost: 0}, key)
	w.ignored(contractnet.WhyLate, 1)
	if r := <-rejections; r.Reason != contractnet.RejectedLate {
		t.Errorf("rejected: %+v", r)
	}
	w.send(hand, "boss", &contractnet.Report{Name: "visit", Round: 1, Result: []byte("x")}, key)
	c := <-w.over
	var failed *contractnet.AllFailedError
	if !errors.As(c.Err, &failed) || !strings.Contains(c.Err.Error(), "hand has failed (its result cannot be read") {
		t.Errorf("concluded: %v", c.Err)
	}
	w.forgotten()
	w.send(slow, "boss", &contractnet.Proposal{Name: "visit", Cost: 0}, key)
	w.ignored(contractnet.WhyUnknown, 3)
	all, err := w.mgr.Replay(t.Context(), w.Codec(), "parley", "boss", w.inbox())
	if err != nil || len(all) != 1 || len(all[0].Awards) != 1 || all[0].Awards[0].Agent != "hand" || all[0].Negotiation.Phase != contractnet.OutcomeAllFailed {
		t.Fatalf("replayed: %+v, %v", all, err)
	}
	if got := fmt.Sprint(all[0].Ignored[0].Why, all[0].Ignored[1].Why); got != "not_asked invalid" && got != "not_askedinvalid" {
		t.Error(got)
	}
}

// forgotten waits until the manager has told itself to forget a negotiation.
func (w *world) forgotten() {
	w.t.Helper()
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(50 * time.Millisecond) { // polls a condition on the broker
		for _, rec := range w.inbox() {
			var d contractnet.Deadline
			if w.Codec().Decode(w.t.Context(), rec.Value, &d, schemas.MessageType(d.Schema())) == nil && d.Due && d.Round < 0 {
				return
			}
		}
	}
	w.t.Fatal("it is not forgotten")
}

// inbox is what stands in the manager's.
func (w *world) inbox() []streaming.Record {
	w.t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: w.cluster.Brokers})
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	const topic = "parley.inbox.boss"
	ends, err := log.EndOffsets(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, To: end})
	}
	var records []streaming.Record
	if err := log.Scan(w.t.Context(), ranges, func(rec streaming.Record) { records = append(records, rec.Clone()) }); err != nil {
		w.t.Fatal(err)
	}
	return records
}
