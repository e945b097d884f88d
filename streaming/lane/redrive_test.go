package lane_test

import (
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// A redrive that is killed between its append and its note appends the same copy
// again: x/4 and x/4, both live. y is younger, of the same key.
func twice(t *testing.T) *bench {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 3})
	b.open()
	b.read("x")
	b.want(lane.Drop, "x") // dead
	for range 2 {
		b.again()
	}
	return b
}

// again reads one more copy x/4 from tier 1.
func (b *bench) again() *lane.Copy {
	c := &lane.Copy{Log: 1, Offset: b.tier[1], Key: "k", ID: id("x"), Origin: 0, Moves: 4, Payload: "x"}
	b.tier[1]++
	return b.m.Read(c)
}

func TestARedriveThatIsAppendedTwiceRunsOnce(t *testing.T) {
	b := twice(t)
	x := b.want(lane.Run, "x")
	b.want(lane.None, "") // the other waits
	b.m.Done(x.Copy)
	if d := b.want(lane.Drop, "x"); d.Copy == x.Copy || !d.Again {
		t.Errorf("dropped %+v", d)
	}
	b.again() // later still
	b.want(lane.Drop, "x")
	if b.m.Watermark(1) != 3 || b.m.Live() != 0 {
		t.Errorf("tier 1 can be committed up to %d of 3, %d live", b.m.Watermark(1), b.m.Live())
	}
}

func TestARedriveThatIsAppendedTwiceRetriesOnce(t *testing.T) {
	b := twice(t)
	b.read("y")
	x := b.retry(b.want(lane.Run, "x").Copy, 2, time.Second)
	b.want(lane.Defer, "y")
	b.again()
	b.want(lane.None, "") // x/5 is what waits
	b.now = b.now.Add(time.Second)
	if got := b.want(lane.Run, "x"); got.Copy != x {
		t.Errorf("%+v runs", got.Copy)
	}
	b.m.Done(x)
	b.want(lane.Drop, "x")
	b.want(lane.Drop, "x")
}

func TestARedriveThatIsAppendedTwiceDiesOnce(t *testing.T) {
	b := twice(t)
	x := b.want(lane.Run, "x")
	b.m.Dead(x.Copy)
	b.want(lane.Drop, "x")
	b.again()
	b.want(lane.Drop, "x")
	b.want(lane.None, "")
}

func TestARedriveThatIsAppendedTwiceIsRebuiltAsOne(t *testing.T) {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 3})
	for offset := range int64(2) {
		b.m.RecallCopy(&lane.Copy{Log: 1, Offset: offset, Key: "k", ID: id("x"), Origin: 0, Moves: 4, Payload: "x"})
	}
	b.open()
	b.read("x")
	b.m.Done(nextRun(b))
	for d := b.m.Next(b.now, true); d.Action != lane.None; d = b.m.Next(b.now, true) {
		if d.Action != lane.Drop {
			t.Errorf("%d of %+v", d.Action, d.Copy)
		}
	}
	if b.m.Live() != 0 || b.m.Watermark(1) != 0 { // the tail has not come to them yet
		t.Errorf("%d live, tier 1 at %d", b.m.Live(), b.m.Watermark(1))
	}
}
