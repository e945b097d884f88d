package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

func input(offset int64, id string) streaming.Record {
	env := streaming.Envelope{ID: id, Source: "giver", Type: "agent.error"}
	return streaming.Record{Topic: "in", Offset: offset, Key: []byte(id), Value: []byte{0}, Headers: schemas.AppendEnvelope(nil, &env)}
}

// Trace C11 with the input log in place of a tier: a message was done above a
// watermark that a slow one held back, and all workers stood still for longer than
// the window.
func TestAMarkAboveTheWatermarkOutlivesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		b := newBench(t, 100, func(context.Context, *streaming.Delivery) error { ran.Add(1); return nil })
		b.lane.cfg.Codec = nil // nothing may come to a handler
		old := time.Now().Add(-25 * time.Hour)
		for i := range int64(5) {
			b.lane.RecallMark(&streaming.Mark{Kind: streaming.MarkDone, ID: streaming.HashID("giver", fmt.Sprint(i)), Origin: i, Time: old}, 1)
		}
		b.lane.Open(0, 0, []int64{0})
		synctest.Wait()
		for i := range int64(5) {
			b.lane.Offer(0, []streaming.Record{input(i, fmt.Sprint(i))})
			synctest.Wait()
		}
		p := b.lane.Positions()
		if ran.Load() != 0 || p.Commit[0] != 5 || p.Pending != 0 {
			t.Errorf("%d runs, watermark %d, %d pending", ran.Load(), p.Commit[0], p.Pending)
		}
		b.lane.Abort()
		if b.lane.cfg.Facts.Len() != 0 {
			t.Errorf("%d old facts are kept below the watermark", b.lane.cfg.Facts.Len())
		}
	})
}

// The marks above a watermark that one message holds back are needed, and must
// not grow without bound.
func TestTheInputPausesWhenTheLedgerIsOverfull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, nil)
		b.lane.cfg.Facts.Size = 10
		if b.lane.isOverfull() {
			t.Error("an empty one is overfull")
		}
		b.lane.machine.Open([]int64{0, 0})
		b.lane.machine.Read(&lane.Copy{Offset: 0, Key: "slow", ID: streaming.HashID("giver", "slow")})
		for i := range int64(10 + 100 + 1) {
			b.lane.cfg.Facts.Settle(streaming.HashID("giver", fmt.Sprint(i)), lane.Fact{Done: true, Origin: i + 1})
			b.lane.cfg.Facts.Evict(b.lane.needed)
		}
		if !b.lane.isOverfull() {
			t.Error("the input is read on")
		}
		c := b.lane.machine.Oldest()
		b.lane.machine.Done(c)
		if b.lane.isOverfull() {
			t.Error("the input pauses with nothing to wait for")
		}
	})
}
