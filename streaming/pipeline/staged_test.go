package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// wholeLog is a log from which values are loaded.
type wholeLog []streaming.Record

func (w *wholeLog) Load(_ context.Context, _ string, _ int32, offset int64) (streaming.Record, error) {
	return (*w)[offset], nil
}

// Exactly once the next of a key starts when its predecessor waits for its transaction,
// and finds the state that this one has left. When a record of the predecessor turns out
// to be one that can never be written, those after it are handled again, after it.
func TestTheNextOfAKeyStartsWhenItsPredecessorIsStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var runs []string
		ran := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(runs)
		}
		b := newBench(t, 1000, func(_ context.Context, d *streaming.Delivery) error {
			state, _, err := d.State.Get("all")
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			runs = append(runs, fmt.Sprintf("%s %d finds %q", d.Envelope.ID, d.Attempt, state))
			topic := "out"
			if d.Envelope.ID == "a" && d.Attempt == 1 {
				topic = "nowhere"
			}
			d.Outbox.Stage(streaming.Outgoing{Topic: topic, Partition: -1, Value: []byte(d.Envelope.ID)})
			return d.State.Set("all", append(slices.Clone(state), d.Envelope.ID...))
		})
		cfg := &b.lane.cfg
		cfg.StateTopic, cfg.StateBytes, cfg.Atomic = "state", 100, func() {}
		var log wholeLog
		cfg.Loader = &log
		b.lane.Open(0, 0, []int64{0})
		transaction := func(refused ...string) (topics []string) {
			t.Helper()
			synctest.Wait()
			batch, ok := b.lane.Cut(1000).Wait(t.Context())
			if !ok {
				return nil
			}
			offsets, errs := make([]int64, len(batch.Records)), map[int]error(nil)
			for i, rec := range batch.Records {
				topics = append(topics, rec.Topic)
				offsets[i] = int64(len(log))
				log = append(log, *rec)
				if slices.Contains(refused, rec.Topic) {
					offsets, errs = nil, map[int]error{i: streaming.ErrUnknownTopic}
					break
				}
			}
			batch.Done(offsets, errs)
			synctest.Wait()
			return topics
		}
		for transaction() != nil { // the claim
		}
		expect := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		for _, id := range []string{"a", "b", "c"} {
			b.offer(id)
		}
		synctest.Wait()
		before := []string{`a 1 finds ""`, `b 1 finds "a"`, `c 1 finds "ab"`}
		expect("before any transaction", ran(), before...)
		expect("refused", transaction("nowhere"), "state", "nowhere")
		expect("in its place", transaction(), "tier")
		expect("the others wait behind it", transaction(), "tier", "tier")
		expect("until it is due", ran(), before...)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		expect("alone, as it was refused", ran()[len(before):], `a 2 finds ""`)
		expect("its transaction", transaction(), "state", "out", "ledger")
		expect("after that", ran()[len(before)+1:], `b 1 finds "a"`, `c 1 finds "ab"`)
		expect("all of it", transaction(), "state", "out", "state", "out", "ledger")
		if n := b.lane.machine.Live(); n != 0 {
			t.Errorf("%d are not done", n)
		}
		b.lane.Abort()
	})
}
