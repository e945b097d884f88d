package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func (b *bench) put(id, key string, at time.Time) {
	value, _ := b.codec.Encode(b.t.Context(), &schemas.ErrorReply{})
	env := streaming.Envelope{ID: id, Source: "giver", Type: "agent.error", Hops: 3, DeliverAt: at}
	b.lane.Offer(0, []streaming.Record{{Topic: "in", Offset: b.next, Key: []byte(key), Value: value, Headers: schemas.AppendEnvelope(nil, &env)}})
	b.next++
}

// transactor plays the transactions of a lane.
type transactor struct {
	t   *testing.T
	b   *bench
	log wholeLog
}

func (x *transactor) do(refused string) (topics []string) {
	synctest.Wait()
	batch, ok := x.b.lane.Cut(1000).Wait(x.t.Context())
	if !ok {
		return nil
	}
	offsets, errs := make([]int64, len(batch.Records)), map[int]error(nil)
	for i, rec := range batch.Records {
		s := rec.Topic
		switch rec.Topic {
		case "state":
			e := schemas.ParseState(rec)
			s += fmt.Sprintf("(%s=%s)", e.Name, e.Value)
		case "out", "part":
			s += "(" + string(rec.Value) + ")"
		}
		topics = append(topics, s)
		if rec.Topic == refused {
			errs = map[int]error{i: streaming.ErrUnknownTopic}
		}
	}
	if errs != nil {
		offsets = nil
	} else {
		for i, rec := range batch.Records {
			offsets[i] = int64(len(x.log))
			x.log = append(x.log, *rec)
		}
	}
	x.t.Log("tx", topics, "refused:", errs != nil)
	batch.Done(offsets, errs)
	synctest.Wait()
	return topics
}

// handedOn has A refused while S, which has found what A had left, still runs: what A and
// S come to counts once each.
func handedOn(t *testing.T, key string, at time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		b := newBench(t, 1000, func(_ context.Context, d *streaming.Delivery) error {
			state, _, err := d.State.Get("all")
			if err != nil {
				t.Log(d.Envelope.ID, d.Attempt, err)
				return err
			}
			t.Logf("%s %d finds %q", d.Envelope.ID, d.Attempt, state)
			topic := "out"
			if d.Envelope.ID == "A" && d.Attempt == 1 {
				topic = "nowhere"
			}
			if d.Envelope.ID == "S" {
				<-hold
			}
			d.Outbox.Stage(streaming.Outgoing{Topic: topic, Partition: -1, Value: []byte(d.Envelope.ID)})
			return d.State.Set("all", append(append([]byte(nil), state...), d.Envelope.ID...))
		})
		cfg := &b.lane.cfg
		cfg.StateTopic, cfg.StateBytes, cfg.Atomic = "state", 100, func() {}
		x := &transactor{t: t, b: b}
		cfg.Loader = &x.log
		b.lane.Open(0, 0, []int64{0})
		for x.do("") != nil {
		}
		if at > 0 {
			b.put("S", key, time.Now().Add(at))
			b.put("A", "k", time.Time{})
		} else {
			b.put("A", "k", time.Time{})
			synctest.Wait() // until it is staged
			b.put("S", key, time.Time{})
		}
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		x.do("nowhere") // A is refused while S runs
		close(hold)
		for x.do("") != nil {
		}
		time.Sleep(3 * time.Hour)
		for x.do("") != nil {
		}
		time.Sleep(3 * time.Hour)
		for x.do("") != nil {
		}
		if e := b.lane.kept.entries["all"]; e == nil || len(e.value) != 2 {
			t.Errorf("state %q, live %d", e.value, b.lane.machine.Live())
		}
		b.lane.Abort()
	})
}

func TestAnOlderMessageIsOvertakenToo(t *testing.T) { handedOn(t, "k", time.Minute) }
func TestStagedStateIsForItsKeyAlone(t *testing.T)  { handedOn(t, "k2", 0) }

// A step of a run that does not count is not stored, and its part is not sent.
func TestAStepOfAnOvertakenRunIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1000, func(ctx context.Context, d *streaming.Delivery) error {
			state, _, err := d.State.Get("all")
			if err != nil {
				return err
			}
			topic := "out"
			if d.Envelope.ID == "A" {
				if d.Attempt == 1 {
					topic = "nowhere"
				}
			} else {
				known, stored, err := d.Steps.Begin(ctx, "s")
				if err != nil {
					return err
				}
				if !stored {
					known = append([]byte("saw:"), state...)
					if err := d.Steps.Store(ctx, "s", known, streaming.Outgoing{Topic: "part", Partition: -1, Value: known}); err != nil {
						t.Log("store", err)
						return err
					}
				}
				t.Logf("B %d state %q step %q (stored before: %v)", d.Attempt, state, known, stored)
			}
			d.Outbox.Stage(streaming.Outgoing{Topic: topic, Partition: -1, Value: []byte(d.Envelope.ID)})
			return d.State.Set("all", append(append([]byte(nil), state...), fmt.Sprintf("%s%d", d.Envelope.ID, d.Attempt)...))
		})
		cfg := &b.lane.cfg
		cfg.StateTopic, cfg.StateBytes, cfg.Atomic = "state", 100, func() {}
		x := &transactor{t: t, b: b}
		cfg.Loader = &x.log
		b.lane.Open(0, 0, []int64{0})
		for x.do("") != nil {
		}
		b.put("A", "k", time.Time{})
		b.put("B", "k", time.Time{})
		synctest.Wait()
		x.do("nowhere")
		var parts []string
		for range 2 {
			for topics := x.do(""); topics != nil; topics = x.do("") {
				for _, topic := range topics {
					if strings.HasPrefix(topic, "part") {
						parts = append(parts, topic)
					}
				}
			}
			time.Sleep(3 * time.Hour)
		}
		if want := []string{"part(saw:A2)"}; !slices.Equal(parts, want) {
			t.Errorf("parts %q, want %q", parts, want)
		}
		b.lane.Abort()
	})
}

type failing struct{ gate chan struct{} }

func (f failing) Load(context.Context, string, int32, int64) (streaming.Record, error) {
	<-f.gate
	return streaming.Record{}, errors.New("broker away")
}

// A load fails after the tail has brought the value and the copy has run: nothing comes of it.
func TestALoadThatFailsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		b := newBench(t, 1000, func(ctx context.Context, d *streaming.Delivery) error {
			runs++
			t.Log("run", d.Envelope.ID, d.Attempt)
			return nil
		})
		f := failing{make(chan struct{})}
		b.lane.cfg.Loader = f
		b.lane.cfg.Atomic = func() {}
		x := &transactor{t: t, b: b}
		value, _ := b.codec.Encode(t.Context(), &schemas.ErrorReply{})
		env := streaming.Envelope{ID: "X", Source: "giver", Type: "agent.error", Hops: 3}
		hop := streaming.Hop{Attempt: 1, Moves: 1, Due: time.Now().Add(-time.Second).UnixMilli(), Origin: streaming.Origin{Topic: "in", Offset: 0}, Reason: "handler"}
		rec := streaming.Record{Topic: "tier", Offset: 0, Key: []byte("k"), Value: value, Headers: schemas.AppendHop(schemas.AppendEnvelope(nil, &env), &hop)}
		b.lane.RecallTier(1, rec)
		b.lane.Open(0, 1, []int64{0})
		x.do("")
		synctest.Wait()
		b.lane.Offer(1, []streaming.Record{rec})
		synctest.Wait()
		close(f.gate)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
		for x.do("") != nil {
		}
		b.lane.Abort()
	})
}

// Where all of a key is refused, none but the first has those after it handled again.
func TestManyRefusedMessagesOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		b := newBench(t, 1000, func(_ context.Context, d *streaming.Delivery) error {
			runs++
			d.Outbox.Stage(streaming.Outgoing{Topic: "nowhere", Partition: -1, Value: []byte(d.Envelope.ID)})
			return nil
		})
		cfg := &b.lane.cfg
		cfg.Atomic, cfg.Policy.Attempts = func() {}, 1
		x := &transactor{t: t, b: b}
		cfg.Loader = &x.log
		b.lane.Open(0, 0, []int64{0})
		for x.do("") != nil {
		}
		for i := range 40 {
			b.put(fmt.Sprint("m", i), "k", time.Time{})
		}
		synctest.Wait()
		for x.do("nowhere") != nil {
		}
		if live := b.lane.machine.Live(); runs > 80 || live > 0 {
			t.Errorf("%d runs of 40 messages with one attempt each, %d live", runs, live)
		}
		b.lane.Abort()
	})
}
