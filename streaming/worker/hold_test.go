package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// holder is an agent that holds keys. It fails x1 of each key while failing is set.
type holder struct {
	t       *testing.T
	p       *agents.Platform
	log     *kafka.Log
	s       *agents.Sender
	once    bool
	failing atomic.Bool
	*seen
}

func newHolder(t *testing.T, exactlyOnce bool) *holder {
	c := streamtest.NewCluster(t)
	h := &holder{t: t, p: connect(t, c), once: exactlyOnce, seen: newSeen()}
	h.failing.Store(true)
	var err error
	if h.log, err = kafka.NewLog(kafka.Config{Brokers: c.Brokers}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.log.Close)
	if h.s, err = h.p.Sender("giver"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.s.Close)
	return h
}

func (h *holder) start() (stop func()) { return start(h.t, h.p, h.agent()) }

func (h *holder) agent() *agents.Agent {
	a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: h.once, Hold: true})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if h.failing.Load() && strings.HasSuffix(m.ID(), "1") {
			return agents.Permanent(errors.New("never"))
		}
		h.add(m.ID())
		return nil
	})
	return a
}

func (h *holder) send(ids ...string) {
	h.t.Helper()
	for _, id := range ids {
		if err := h.s.Send(h.t.Context(), h.s.ToAgent("taker", &schemas.ErrorReply{Message: id}, agents.ID(id), agents.Key(id[:1]))); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *holder) run(key string, discard bool) {
	h.t.Helper()
	r := &retry.Redrive{
		Log: h.log, Codec: h.p.Codec(), Group: "taker", Inputs: []string{streaming.Namespace("parley").Inbox("taker")},
		Selection: retry.Selection{Key: &key}, By: "test", Discard: discard,
	}
	plan, err := r.Plan(h.t.Context())
	if err == nil {
		err = r.Run(h.t.Context(), plan)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// audit awaits that the topics say so.
func (h *holder) audit(done, retrying, dead int64) {
	h.t.Helper()
	var have string
	defer func() {
		if h.t.Failed() {
			h.t.Log(have)
		}
	}()
	eventually(h.t, fmt.Sprintf("%d done, %d retrying, %d dead", done, retrying, dead), func() bool {
		a, err := audit.New(h.t.Context(), h.log, h.p.Codec(), audit.Group{Agent: "taker", Types: []string{"agent.error"}})
		if err != nil {
			h.t.Fatal(err)
		}
		r, err := a.Read(h.t.Context(), nil)
		if err != nil {
			return false // trimmed under its eyes
		}
		have = fmt.Sprintf("%d done, %d retrying, %d dead of %d: %s", r.Done, r.Retrying, r.Dead, r.Accepted, r.Conservation())
		return r.Done == done && r.Retrying == retrying && r.Dead == dead && r.Conservation() == audit.Exact
	})
}

func (h *holder) handled(key string) (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.order {
		if id[:1] == key {
			ids = append(ids, id)
		}
	}
	return ids
}

// A dead letter holds its key across restarts until it is redriven and done, or
// discarded; then what waited goes on in order. Other keys are not held.
func TestADeadLetterHoldsItsKey(t *testing.T) { inEachMode(t, testADeadLetterHoldsItsKey) }

func testADeadLetterHoldsItsKey(t *testing.T, exactlyOnce bool) {
	h := newHolder(t, exactlyOnce)
	stop := h.start()
	h.send("a1", "a2", "b1", "b2", "c0", "c2")
	h.audit(2, 2, 2)
	stop()
	stop = h.start()
	h.send("a3", "b3", "c3", "d1") // d dies with nothing behind it
	h.audit(3, 4, 3)
	stop()
	h.start()
	h.send("d2") // held by what died before the restart
	h.audit(3, 5, 3)

	h.run("b", true)
	h.audit(5, 3, 3)
	if got := h.handled("b"); !slices.Equal(got, []string{"b2", "b3"}) {
		t.Errorf("of key b, whose dead letter is discarded, %v are handled", got)
	}
	h.run("a", false) // dies again
	eventually(t, "a1 dies again", func() bool {
		return h.deadLetters() == 4
	})
	h.audit(5, 3, 3)
	h.failing.Store(false)
	h.send("a4")
	h.run("a", false)
	h.run("d", false)
	h.audit(11, 0, 1)
	if got := h.handled("a"); !slices.Equal(got, []string{"a1", "a2", "a3", "a4"}) {
		t.Errorf("of key a %v are handled", got)
	}
	if got := h.handled("d"); !slices.Equal(got, []string{"d1", "d2"}) {
		t.Errorf("of key d %v are handled", got)
	}
}

func (h *holder) deadLetters() (n int) {
	topic := streaming.DeadLetterTopic(streaming.Namespace("parley").Inbox("taker"), "taker")
	starts, err := h.log.StartOffsets(h.t.Context(), topic)
	if err != nil {
		h.t.Fatal(err)
	}
	ends, err := h.log.EndOffsets(h.t.Context(), topic)
	if err != nil {
		h.t.Fatal(err)
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: starts[tp], To: end})
	}
	if err := h.log.Scan(h.t.Context(), ranges, func(r streaming.Record) {
		if schemas.ParseRedriveNote(&r) == nil {
			n++
		}
	}); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// An agent that holds keys no more refuses to start while messages wait in its hold
// topic.
func TestHeldMessagesAreNotStranded(t *testing.T) {
	h := newHolder(t, false)
	stop := h.start()
	h.send("a1", "a2")
	h.audit(0, 1, 1)
	stop()
	w, err := h.p.Worker(agents.New("taker", agents.Config{Retry: quick}))
	if err != nil {
		t.Fatal(err)
	}
	err = w.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "1 messages may wait behind dead letters") {
		t.Errorf("it runs: %v", err)
	}
	h.start()
}

// What waits for long is carried forward once per window of the ledger, so that the
// ledger and the topics are trimmed all the same, and it is released in order.
func TestWhatWaitsForLongDoesNotKeepTheLedger(t *testing.T) {
	inEachMode(t, testWhatWaitsForLongDoesNotKeepTheLedger)
}

func testWhatWaitsForLongDoesNotKeepTheLedger(t *testing.T, exactlyOnce bool) {
	h := newHolder(t, exactlyOnce)
	a := h.agent()
	cfg, err := h.p.WorkerConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	cfg.LedgerWindow = time.Millisecond
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := startWorker(t, w)
	h.send("a1", "a2", "a3")
	due := time.Now().Add(time.Hour)
	if err := h.s.Send(t.Context(), h.s.ToAgent("taker", &schemas.ErrorReply{}, agents.ID("far"), agents.Key("a"), agents.DeliverAt(due))); err != nil {
		t.Fatal(err)
	}
	h.audit(0, 3, 1)
	in := streaming.Namespace("parley").Inbox("taker")
	var partition int32 // of key a
	for tp, end := range h.ends(streaming.HoldTopic(in, "taker")) {
		if end > 0 {
			partition = tp.Partition
		}
	}
	for _, topic := range []string{streaming.HoldTopic(in, "taker"), streaming.RetryTopic(in, 200*time.Millisecond, "taker"), streaming.LedgerTopic(in, "taker")} {
		for range 2 { // what was carried is carried on
			tp := streaming.TopicPartition{Topic: topic, Partition: partition}
			end := h.ends(topic)[tp]
			eventually(t, topic+" is trimmed past what waits", func() bool {
				w.Maintain(t.Context())
				starts, err := h.log.StartOffsets(t.Context(), topic)
				if err != nil {
					t.Fatal(err)
				}
				return end > 0 && starts[tp] >= end
			})
		}
	}
	h.audit(0, 3, 1)
	stop()
	h.start() // from what was carried
	h.audit(0, 3, 1)
	h.run("a", true)
	h.audit(2, 1, 1)
	if got := h.handled("a"); !slices.Equal(got, []string{"a2", "a3"}) {
		t.Errorf("handled %v", got)
	}
}

func (h *holder) ends(topic string) map[streaming.TopicPartition]int64 {
	h.t.Helper()
	ends, err := h.log.EndOffsets(h.t.Context(), topic)
	if err != nil {
		h.t.Fatal(err)
	}
	return ends
}
