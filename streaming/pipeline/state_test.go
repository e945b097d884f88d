package pipeline

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// At least once a change of state is acknowledged before an output is sent, and that
// before the mark is: after a crash between them no other message finds the state of
// before where outputs say otherwise.
func TestStateIsThereBeforeOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1000, func(_ context.Context, d *streaming.Delivery) error {
			d.Outbox.Stage(streaming.Outgoing{Topic: "out", Partition: -1, Value: []byte("said")})
			return d.State.Set("orders", []byte("one"))
		})
		b.lane.cfg.StateTopic, b.lane.cfg.StateBytes = "state", 100
		acknowledge := make(chan struct{})
		b.log.hold = acknowledge
		b.lane.Open(0, 0, []int64{0})
		b.offer("m")
		for _, want := range [][]string{{"state"}, {"state", "out"}, {"state", "out", "ledger"}} {
			time.Sleep(time.Minute) // of the bubble
			synctest.Wait()
			if got := b.log.topics(); !slices.Equal(got, want) {
				t.Fatalf("written is %q, want %q", got, want)
			}
			acknowledge <- struct{}{}
		}
		synctest.Wait()
		b.lane.Abort()
	})
}
