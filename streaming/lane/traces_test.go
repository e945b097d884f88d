package lane_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// The traces are the shortest histories that break simpler rules of delivery. x
// is older than y, both of one key.

var t0 = time.Unix(1000, 0)

// bench drives a machine by hand.
type bench struct {
	t     *testing.T
	m     *lane.Machine
	facts memory
	now   time.Time
	input int64
	tier  map[lane.Log]int64
}

func opened(t *testing.T) *bench {
	b := closed(t)
	b.open()
	return b
}

func closed(t *testing.T) *bench {
	facts := memory{}
	return &bench{t: t, m: lane.New(3, facts), facts: facts, now: t0, tier: map[lane.Log]int64{}}
}

func (b *bench) open() { b.m.Open([]int64{0, 0, 0, 0}) }

func id(s string) streaming.MessageID { return streaming.HashID("s", s) }

// read reads the next input record.
func (b *bench) read(msg string) *lane.Copy {
	c := &lane.Copy{Log: lane.Input, Offset: b.input, Origin: b.input, Key: "k", ID: id(msg), Payload: msg}
	b.input++
	return b.m.Read(c)
}

// want checks the next decision.
func (b *bench) want(action lane.Action, msg string) lane.Decision {
	b.t.Helper()
	d := b.m.Next(b.now, true)
	got := ""
	if d.Copy != nil {
		got = fmt.Sprint(d.Copy.Payload)
		if d.Copy.Payload == nil {
			got = "?"
		}
	}
	if d.Action != action || got != msg && action != lane.None {
		b.t.Fatalf("got %d %s, want %d %s", d.Action, got, action, msg)
	}
	return d
}

// retry moves a copy to a tier, as after a failure.
func (b *bench) retry(c *lane.Copy, tier lane.Log, delay time.Duration) *lane.Copy {
	next := b.next(c, tier)
	next.Attempts = c.Attempts + 1
	next.Due = b.now.Add(delay)
	b.m.Moved(c, next)
	return next
}

// queue moves a copy behind its blocker.
func (b *bench) queue(d lane.Decision) *lane.Copy {
	next := b.next(d.Copy, d.Tier)
	b.m.Moved(d.Copy, next)
	return next
}

func (b *bench) next(c *lane.Copy, tier lane.Log) *lane.Copy {
	n := &lane.Copy{Log: tier, Offset: b.tier[tier], Key: c.Key, ID: c.ID, Origin: c.Origin, Moves: c.Moves + 1, Attempts: c.Attempts, Payload: c.Payload}
	b.tier[tier]++
	return n
}

func TestC1AFollowerGoesAsSoonAsItsKeyIsFree(t *testing.T) {
	b := opened(t)
	b.read("x")
	x := b.retry(b.want(lane.Run, "x").Copy, 1, time.Second)
	b.read("y")
	b.queue(b.want(lane.Defer, "y"))
	b.want(lane.None, "")
	b.now = b.now.Add(time.Second)
	b.want(lane.Run, "x")
	b.m.Done(x)
	b.want(lane.Run, "y") // at once: no due time of its own
}

func TestC2AFollowerIsAppendedOnce(t *testing.T) {
	b := opened(t)
	b.read("x")
	x := b.retry(b.want(lane.Run, "x").Copy, 1, time.Second)
	b.read("y")
	b.queue(b.want(lane.Defer, "y"))
	for tier := lane.Log(2); tier <= 3; tier++ { // the blocker hops on; the follower is parked where it is
		b.now = b.now.Add(time.Minute)
		b.want(lane.Run, "x")
		x = b.retry(x, tier, time.Minute)
		b.want(lane.None, "")
	}
	if b.m.Watermark(1) != 0 {
		t.Errorf("the parked copy does not hold its tier's watermark")
	}
	b.now = b.now.Add(time.Minute)
	b.want(lane.Run, "x")
	b.m.Done(x)
	b.want(lane.Run, "y")
}

func TestC3OnlyAnOlderCopyBlocks(t *testing.T) {
	b := closed(t)
	// y waits in a tier, x on the input log: after a crash in mid-move.
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("y"), Origin: 1, Moves: 1, Payload: "y"})
	b.open()
	b.read("x")
	b.want(lane.Run, "x")
}

func TestC4AFollowerGoesToItsBlockersTier(t *testing.T) {
	b := opened(t)
	b.read("x")
	b.retry(b.want(lane.Run, "x").Copy, 2, time.Minute)
	b.read("y")
	if d := b.want(lane.Defer, "y"); d.Tier != 2 {
		t.Errorf("behind tier %d, but the blocker is in 2", d.Tier)
	}
}

func TestC5AParkedCopyBeforeItsBlockerIsNoDeadlock(t *testing.T) {
	b := closed(t)
	// In tier 1 y stands before the copy of x that comes back to it.
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("y"), Origin: 1, Moves: 1, Payload: "y"})
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 1, Key: "k", ID: id("x"), Origin: 0, Moves: 2, Attempts: 2, Payload: "x"})
	b.open()
	b.read("x")
	b.read("y")
	x := b.want(lane.Run, "x")
	if x.Copy.Log != 1 {
		t.Fatal("the superseded copy runs")
	}
	b.m.Done(x.Copy)
	if y := nextRun(b); y.Log != 1 || y.Payload != "y" {
		t.Fatalf("%v runs", y)
	}
}

// nextRun skips the drops.
func nextRun(b *bench) *lane.Copy {
	b.t.Helper()
	for {
		switch d := b.m.Next(b.now, true); d.Action {
		case lane.Drop:
		case lane.Run:
			return d.Copy
		default:
			b.t.Fatalf("got %d", d.Action)
		}
	}
}

func TestC6ADeadLetterWithoutItsMarkIsAFact(t *testing.T) {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 1}) // found in the dead-letter topic
	b.open()
	b.read("x")
	b.want(lane.Drop, "x")
	b.want(lane.None, "")
}

func TestC7DeadEndsAllCopiesWithFewerMoves(t *testing.T) {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 2})
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Payload: "x"})
	b.open()
	b.read("x")
	for range 2 {
		b.want(lane.Drop, "x")
	}
	b.want(lane.None, "")
	if b.m.Watermark(lane.Input) != 1 {
		t.Error("the input record is not passed")
	}
}

func TestC8ADeferralRaisesMoves(t *testing.T) {
	b := opened(t)
	b.read("x")
	x := b.retry(b.want(lane.Run, "x").Copy, 1, time.Second)
	b.read("y")
	y := b.queue(b.want(lane.Defer, "y"))
	if y.Moves != 1 {
		t.Fatalf("moves %d", y.Moves)
	}
	b.now = b.now.Add(time.Second)
	b.want(lane.Run, "x")
	b.m.Done(x)
	b.want(lane.Run, "y") // the only copy is live
}

func TestC9TheLedgerIsAskedInTheKeysTurn(t *testing.T) {
	b := opened(t)
	b.read("x")
	b.read("x") // a duplicate, taken in before the first is handled
	x := b.want(lane.Run, "x")
	b.want(lane.None, "")
	b.m.Done(x.Copy)
	if d := b.want(lane.Drop, "x"); d.Again {
		t.Error("a duplicate is taken for the record itself")
	}
}

func TestC9TwoKeysOfOneIDDoNotRunAtOnce(t *testing.T) {
	b := opened(t)
	b.read("x")
	other := &lane.Copy{Log: lane.Input, Offset: 1, Origin: 1, Key: "other", ID: id("x"), Payload: "x"}
	b.input++
	b.m.Read(other)
	x := b.want(lane.Run, "x")
	b.want(lane.None, "")
	b.m.Done(x.Copy)
	b.want(lane.Drop, "x")
}

func TestC10AnAppendedCopyBlocksBeforeItIsRead(t *testing.T) {
	b := opened(t)
	b.read("x")
	b.retry(b.want(lane.Run, "x").Copy, 1, time.Second) // acknowledged; the tail has not come to it
	b.read("y")
	b.want(lane.Defer, "y")
}

func TestC11AMarkThatExpiresIsHeldAgainstTheTiersFirst(t *testing.T) {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Done: true}) // x/0 was handled by a rival, and committed
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Attempts: 1, Payload: "x"})
	b.open()
	delete(b.facts, id("x")) // the window ends; before the lane is open it may not
	b.want(lane.Drop, "x")
	b.want(lane.None, "")
}

// The marks say only done and dead: there is no moved that could end a copy while
// the reader of the tiers has not seen the next. So B, even if it reads the tiers
// too early, handles x again, but never y before it. That it reads them late, after
// its claim, saves x the second attempt.
func TestC12ATierThatWasReadTooEarlyBreaksNoOrder(t *testing.T) {
	b := closed(t)
	b.open() // A appends x/1 and commits nothing: it has lost the lane
	b.read("x")
	b.read("y")
	x := b.want(lane.Run, "x")
	b.want(lane.None, "")
	late := &lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Attempts: 1, Due: b.now.Add(time.Second), Payload: "x"}
	b.m.Read(late)
	b.want(lane.None, "")
	b.m.Done(x.Copy)
	b.want(lane.Drop, "x") // x/1: x is done
	b.want(lane.Run, "y")
}

// At least once nothing voids what a frozen owner still writes (rule F2 is left
// out, see DESIGN.md): A has handled x and is frozen, B dead-letters x, A marks it
// done. Both stand in the topics: x has settled twice, under one ID. What is
// promised is that the next owner takes no third turn, not even for a redrive,
// and that this weaker case is known by its two marks. Exactly once refuses A's
// transaction: TestChaos, and the zombies of TestSimulation.
func TestC13AZombiesLateMarkSettlesTwiceButRunsNothing(t *testing.T) {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 1})   // B
	b.m.RecallFact(id("x"), lane.Fact{Done: true}) // A, late
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 2, Payload: "x"})
	b.open()
	b.read("x")
	b.want(lane.Drop, "x")
	b.want(lane.Drop, "x")
	b.want(lane.None, "")
}

func TestC14ATierCopyWaitsForTheInputLog(t *testing.T) {
	b := closed(t)
	// A zombie has moved y; x before it is unsettled on the input log.
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("y"), Origin: 1, Moves: 1, Attempts: 1, Payload: "y"})
	b.open()
	b.want(lane.None, "")
	b.read("x")
	b.want(lane.Run, "x")
}

func TestC15AZombiesCopyInATierIsLive(t *testing.T) {
	b := closed(t)
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Attempts: 1, Payload: "x"})
	b.open()
	b.read("x") // superseded by the copy
	if c := nextRun(b); c.Log != 1 {
		t.Error("the zombie's copy is not the one that runs")
	}
}

func TestC16TheNextOfAKeyWaitsForTheMark(t *testing.T) {
	b := opened(t)
	b.read("x")
	b.read("y")
	x := b.want(lane.Run, "x")
	b.want(lane.None, "") // handled or not: only Done frees the key
	b.m.Done(x.Copy)
	b.want(lane.Run, "y")
}

func TestC17ARedriveContinuesTheMoves(t *testing.T) {
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 3})
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 4, Payload: "x"})
	b.open()
	b.read("x")
	if c := nextRun(b); c.Moves != 4 {
		t.Error("the redriven copy is swallowed")
	}
}

func TestABarrierWaitsForAllBeforeIt(t *testing.T) {
	b := opened(t)
	b.read("x")
	stop := &lane.Copy{Log: lane.Input, Offset: 1, Origin: 1, Key: "stop", ID: id("stop"), Barrier: true, Payload: "stop"}
	b.input++
	b.m.Read(stop)
	x := b.want(lane.Run, "x")
	b.want(lane.None, "")
	b.m.Done(x.Copy)
	b.want(lane.Run, "stop")
}
