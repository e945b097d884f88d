package lane_test

import (
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

const (
	holdLog lane.Log = 4
	deadLog lane.Log = 5
)

func holding(t *testing.T) *bench {
	facts := memory{}
	return &bench{t: t, m: lane.NewHolding(3, facts), facts: facts, now: t0, tier: map[lane.Log]int64{}}
}

func (b *bench) openHolding() { b.m.Open(make([]int64, 6)) }

// die makes a copy a dead letter.
func (b *bench) die(c *lane.Copy) *lane.Copy {
	letter := b.next(c, deadLog)
	letter.Payload = nil
	b.m.DeadHeld(c, letter)
	return letter
}

// redriven reads the next copy of a dead letter from tier 1.
func (b *bench) redriven(letter *lane.Copy, msg string) *lane.Copy {
	c := b.next(letter, 1)
	c.Payload = msg
	return b.m.Read(c)
}

// held is a lane with x dead and y behind it.
func held(t *testing.T) (b *bench, x, y *lane.Copy) {
	b = holding(t)
	b.openHolding()
	b.read("x")
	b.read("y")
	x = b.die(b.want(lane.Run, "x").Copy)
	d := b.want(lane.Defer, "y")
	if d.Tier != holdLog {
		t.Fatalf("y waits in log %d", d.Tier)
	}
	y = b.queue(d)
	b.want(lane.None, "")
	return b, x, y
}

func TestADeadLetterHoldsItsKey(t *testing.T) {
	b, _, _ := held(t)
	z := &lane.Copy{Log: lane.Input, Offset: b.input, Origin: b.input, Key: "free", ID: id("z"), Payload: "z"}
	b.input++
	b.m.Read(z)
	b.m.Done(b.want(lane.Run, "z").Copy)
	if b.m.Watermark(lane.Input) != 3 {
		t.Errorf("the input can be committed up to %d: a held key holds it", b.m.Watermark(lane.Input))
	}
	if b.m.Watermark(holdLog) != 0 || b.m.Watermark(deadLog) != 0 {
		t.Error("the hold can be forgotten")
	}
}

func TestARedriveGoesFirstAndFreesTheKey(t *testing.T) {
	b, x, y := held(t)
	again := b.redriven(x, "x")
	b.want(lane.Run, "x")
	b.m.Done(again)
	if d := b.want(lane.Drop, "?"); d.Copy != x {
		t.Error("the dead letter is not what has ended")
	}
	b.want(lane.Run, "y")
	b.m.Done(y)
	if b.m.Live() != 0 {
		t.Errorf("%d live", b.m.Live())
	}
}

func TestARedriveThatFailsHoldsOnThroughItsRetries(t *testing.T) {
	b, x, _ := held(t)
	again := b.retry(b.redriven(x, "x"), 2, time.Second)
	b.want(lane.None, "")
	b.now = again.Due
	b.want(lane.Run, "x")
	letter := b.die(again) // dies again
	b.read("z")
	b.want(lane.Defer, "z")
	b.want(lane.None, "")
	again = b.redriven(letter, "x")
	b.want(lane.Run, "x")
	b.m.Done(again)
	for range 2 {
		b.want(lane.Drop, "?") // both dead letters
	}
	b.want(lane.Run, "y")
}

func TestADiscardedDeadLetterFreesItsKey(t *testing.T) {
	b, x, _ := held(t)
	if b.m.Release(x.Offset) != x || b.m.Release(x.Offset) != nil {
		t.Error("it is not released once")
	}
	b.want(lane.Run, "y")
	b.read("x") // a duplicate of a message that is dead
	b.want(lane.None, "")
}

func TestAHoldSurvivesACrash(t *testing.T) {
	b := holding(t)
	b.m.RecallFact(id("x"), lane.Fact{Moves: 1})
	b.m.RecallCopy(&lane.Copy{Log: holdLog, Offset: 0, Key: "k", ID: id("y"), Origin: 1, Moves: 1, Payload: "y"})
	b.m.RecallCopy(&lane.Copy{Log: deadLog, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1})
	b.openHolding()
	delete(b.facts, id("x")) // a hold never expires, a fact does
	b.read("x")
	b.read("y")
	b.read("z") // had no follower's place yet
	b.want(lane.Drop, "x")
	for _, want := range []string{"y", "z"} {
		d := b.m.Next(b.now, true)
		if d.Copy == nil || d.Copy.Payload != want || d.Action == lane.Run {
			t.Fatalf("%+v, want %s not to run", d, want)
		}
	}
	b.want(lane.None, "")
}

func TestADeadLetterMayBeReadBeforeItsMarkIsAcknowledged(t *testing.T) {
	b := holding(t)
	b.openHolding()
	b.read("x")
	x := b.want(lane.Run, "x").Copy
	letter := b.next(x, deadLog)
	letter.Payload = nil
	b.m.Read(letter)
	b.want(lane.None, "")
	same := *letter
	b.m.DeadHeld(x, &same)
	b.read("y")
	b.want(lane.Defer, "y")
	if b.m.Unsettled(deadLog) != 1 {
		t.Errorf("%d dead letters hold the key", b.m.Unsettled(deadLog))
	}
}

// A takeover may leave two dead letters of one message: a discard names the later
// one, and neither holds the key any more.
func TestADiscardLetsAllLettersOfAMessageGo(t *testing.T) {
	b, x, y := held(t)
	twice := *x
	letter := &lane.Copy{Log: deadLog, Offset: x.Offset + 5, Key: twice.Key, ID: twice.ID, Origin: twice.Origin, Moves: twice.Moves}
	b.m.Read(letter)
	b.want(lane.None, "")
	if b.m.Release(letter.Offset) != letter {
		t.Fatal("the dead letter is not known")
	}
	b.want(lane.Run, "y")
	b.m.Done(y)
	if b.m.Live() != 0 {
		t.Errorf("%d live", b.m.Live())
	}
}
