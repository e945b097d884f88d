package lane_test

import (
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

func TestACarriedCopyKeepsItsPlace(t *testing.T) {
	b, x, y := held(t)
	for _, c := range b.m.Carry(holdLog, 1, 10) {
		if c != y {
			t.Fatalf("%+v is carried", c)
		}
		b.m.Moved(c, b.next(c, holdLog))
	}
	b.want(lane.None, "")
	b.m.Release(x.Offset)
	if d := b.want(lane.Run, "y"); d.Copy.Offset != 1 || d.Copy.Origin != y.Origin {
		t.Errorf("%+v runs", d.Copy)
	}
}

// A duplicate waits in another tier than the message that it repeats. Carried, it
// would have more moves, and the message its place behind what came between.
func TestADuplicateIsNotCarriedPastItsMessage(t *testing.T) {
	b := closed(t)
	b.m.RecallCopy(&lane.Copy{Log: 1, Offset: 0, Key: "k", ID: id("x"), Origin: 5, Moves: 1, Payload: "again"})
	b.m.RecallCopy(&lane.Copy{Log: 2, Offset: 0, Key: "k", ID: id("x"), Origin: 0, Moves: 1, Payload: "x"})
	b.open()
	if some := b.m.Carry(1, 10, 10); len(some) != 0 {
		t.Error("the duplicate is carried")
	}
	if some := b.m.Carry(2, 10, 10); len(some) != 1 {
		t.Error("the message is not")
	}
}

// A duplicate waits behind a held key, and the message that it repeats is dead and
// discarded meanwhile: carried, it would be more than that has ended, and run.
func TestADuplicateOfWhatIsDeadIsNotCarried(t *testing.T) {
	b, _, y := held(t)
	read := func(key string) {
		b.m.Read(&lane.Copy{Log: lane.Input, Offset: b.input, Origin: b.input, Key: key, ID: id("z"), Payload: "z"})
		b.input++
	}
	read("free")
	z := b.want(lane.Run, "z").Copy
	read(y.Key)
	b.queue(b.want(lane.Defer, "z"))
	b.m.Release(b.die(z).Offset)
	if some := b.m.Carry(holdLog, 10, 10); len(some) != 1 || some[0] != y {
		t.Fatalf("%+v are carried", some)
	}
	b.want(lane.Drop, "z")
}
