package lane_test

import (
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// scheduled reads the next input record, to be handled in that time and to wait in
// that tier.
func (b *bench) scheduled(msg string, in time.Duration, tier lane.Log) *lane.Copy {
	c := &lane.Copy{
		Log: lane.Input, Offset: b.input, Origin: b.input, Key: "k", ID: id(msg), Payload: msg,
		Due: b.now.Add(in), Scheduled: true, Wait: tier,
	}
	b.input++
	return b.m.Read(c)
}

// wait moves a scheduled copy to the tier where it waits.
func (b *bench) wait(d lane.Decision) *lane.Copy {
	next := b.next(d.Copy, d.Tier)
	next.Due, next.Scheduled = d.Copy.Due, true
	b.m.Moved(d.Copy, next)
	return next
}

func TestOthersPassAScheduledMessageUntilItIsDue(t *testing.T) {
	b := opened(t)
	b.scheduled("x", time.Minute, 2)
	b.read("y")
	x := b.want(lane.Defer, "x")
	if x.Tier != 2 {
		t.Errorf("it waits in tier %d", x.Tier)
	}
	y := b.want(lane.Run, "y") // while the append is under way, too
	next := b.wait(x)
	b.m.Done(y.Copy)
	b.read("z")
	z := b.want(lane.Run, "z")
	b.read("last")
	b.now = next.Due // x takes its place, before what came later
	b.want(lane.None, "")
	b.m.Done(z.Copy)
	if got := b.want(lane.Run, "x"); !got.Since.Equal(next.Due) {
		t.Errorf("it could have run since %s", got.Since.Sub(next.Due))
	}
	b.want(lane.None, "")
	b.m.Done(next)
	b.want(lane.Run, "last")
}

func TestAScheduledMessageIsLikeAnyOtherOnceItWasTried(t *testing.T) {
	b := opened(t)
	b.scheduled("x", time.Minute, 2)
	next := b.wait(b.want(lane.Defer, "x"))
	b.now = next.Due
	b.want(lane.Run, "x")
	b.retry(next, 1, time.Second)
	b.read("y")
	b.want(lane.Defer, "y") // behind x/2
}

func TestAShortWaitStaysOnTheInputLog(t *testing.T) {
	b := opened(t)
	x := b.scheduled("x", time.Millisecond, lane.Input)
	b.read("y")
	b.m.Done(b.want(lane.Run, "y").Copy)
	b.want(lane.None, "")
	if b.m.Watermark(lane.Input) != 0 {
		t.Error("the watermark has passed it")
	}
	b.now = x.Due
	b.want(lane.Run, "x")
}

func TestAScheduledMessageInATierIsRecognisedAfterACrash(t *testing.T) {
	b := closed(t)
	due := b.now.Add(time.Hour)
	b.m.RecallCopy(&lane.Copy{Log: 3, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Due: due, Scheduled: true})
	b.open()
	b.scheduled("x", time.Hour, 3) // read again: it is known by its copy, and not appended twice
	b.read("y")
	b.want(lane.Drop, "x")
	b.m.Done(b.want(lane.Run, "y").Copy)
	b.want(lane.None, "")
	b.now, _ = b.m.NextDue() // somewhat before it is due: its value is not in memory
	if !b.now.Before(due) {
		t.Error("the value is fetched late")
	}
	x := b.want(lane.Load, "?")
	b.m.Loaded(x.Copy, "x")
	b.want(lane.None, "")
	b.now = due
	b.want(lane.Run, "x")
}

func TestAScheduledMessageThatCannotBeLoadedIsNotEarly(t *testing.T) {
	b := closed(t)
	due := b.now.Add(time.Minute)
	b.m.RecallCopy(&lane.Copy{Log: 3, Offset: 0, Key: "k", ID: id("x"), Origin: -1, Moves: 1, Due: due, Scheduled: true})
	b.open()
	b.want(lane.None, "")
	b.now, _ = b.m.NextDue()
	x := b.want(lane.Load, "?")
	b.m.Later(x.Copy, b.now.Add(time.Millisecond))
	if !x.Copy.Due.Equal(due) {
		t.Errorf("it is due %s early", due.Sub(x.Copy.Due))
	}
	x = b.want(lane.Load, "?")
	b.m.Loaded(x.Copy, "x")
	b.want(lane.None, "")
	b.now = due
	b.want(lane.Run, "x")
}

func TestLatenessCountsFromTheKeyBeingFree(t *testing.T) {
	b := opened(t)
	b.read("x")
	b.read("y")
	x := b.retry(b.want(lane.Run, "x").Copy, 1, time.Second)
	y := b.queue(b.want(lane.Defer, "y"))
	b.now = x.Due.Add(time.Millisecond)
	if d := b.want(lane.Run, "x"); !d.Since.Equal(x.Due) {
		t.Errorf("x could have run %s after it was due", d.Since.Sub(x.Due))
	}
	b.m.Done(x)
	b.want(lane.Run, "y")
	y = b.retry(y, 1, time.Second)
	older := &lane.Copy{Log: 2, Offset: 0, Key: "k", ID: id("older"), Origin: -1, Moves: 9, Payload: "older"} // redriven
	b.m.Read(older)
	b.want(lane.Run, "older")
	b.now = y.Due.Add(time.Minute) // y is due long before its key is free
	free := b.now
	b.m.Done(older)
	if d := b.want(lane.Run, "y"); !d.Since.Equal(free) {
		t.Errorf("y could have run %s before its key was free", free.Sub(d.Since))
	}
}

func TestLatenessOfAScheduledMessageCountsFromItsTime(t *testing.T) {
	b := opened(t)
	x := b.scheduled("x", time.Millisecond, lane.Input)
	b.want(lane.None, "")
	b.now = x.Due.Add(time.Second)
	if d := b.want(lane.Run, "x"); !d.Since.Equal(x.Due) {
		t.Errorf("x could have run %s after it was due", d.Since.Sub(x.Due))
	}
}

func TestASupersededScheduledMessageHoldsNothing(t *testing.T) {
	b := opened(t)
	x := b.scheduled("x", time.Millisecond, lane.Input)
	b.want(lane.None, "")
	b.m.Read(&lane.Copy{Log: 2, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Due: x.Due.Add(time.Hour), Scheduled: true, Payload: "x"})
	if d := b.want(lane.Drop, "x"); d.Copy != x {
		t.Error("the copy with more moves is dropped")
	}
}

func TestAScheduledCopyIsHeldAgainstTheFactsFirst(t *testing.T) { // C11 again
	b := closed(t)
	b.m.RecallFact(id("x"), lane.Fact{Done: true})
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: -1, Moves: 1, Due: b.now.Add(time.Hour), Scheduled: true, Payload: "x"})
	b.open()
	delete(b.facts, id("x"))
	b.now = b.now.Add(time.Hour)
	b.want(lane.Drop, "x")
	b.want(lane.None, "")
}
