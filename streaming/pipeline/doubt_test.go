package pipeline

import (
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

func TestWhatIsInDoubt(t *testing.T) {
	x := streaming.HashID("giver", "x")
	claim := streaming.Mark{Kind: streaming.MarkClaim}
	begun := func(epoch int64, moves int) streaming.Mark {
		return streaming.Mark{Kind: streaming.MarkBegun, ID: x, Moves: moves, Epoch: epoch}
	}
	release := func(epoch int64) streaming.Mark { return streaming.Mark{Kind: streaming.MarkRelease, Epoch: epoch} }
	for _, c := range []struct {
		name  string
		marks []streaming.Mark // at offsets 0, 1, …
		doubt bool
		times int // of x/0
	}{
		{"nobody was there before", nil, false, 0},
		{"a clean stop", []streaming.Mark{claim, release(0)}, false, 0},
		{"an unclean stop", []streaming.Mark{claim}, true, 0},
		{"the claim is trimmed", []streaming.Mark{{Kind: streaming.MarkCheckpoint, Epoch: 0}}, true, 0},
		{"the claim is trimmed, a clean stop", []streaming.Mark{{Kind: streaming.MarkCheckpoint, Epoch: 0}, release(0)}, false, 0},
		{"a former owner's release says nothing", []streaming.Mark{claim, claim, release(0)}, true, 0},
		{"what a former owner writes late is not the last owner's", []streaming.Mark{claim, claim, release(1), begun(0, 0)}, false, 0},
		{"begun once", []streaming.Mark{claim, begun(0, 0)}, true, 1},
		{"begun by two owners", []streaming.Mark{claim, begun(0, 0), claim, begun(2, 0)}, true, 2},
		{"begun by a former owner, late", []streaming.Mark{claim, claim, begun(1, 0), begun(0, 0)}, true, 1},
		{"it came back at a former owner", []streaming.Mark{claim, claim, begun(1, 0), begun(0, -1)}, true, 1},
		{"a failure starts anew", []streaming.Mark{claim, begun(0, 0), begun(0, 1)}, true, 0},
		{"it came back", []streaming.Mark{claim, begun(0, 0), begun(0, -1)}, true, 0},
		{"it was done", []streaming.Mark{claim, begun(0, 0), {Kind: streaming.MarkDone, ID: x}}, true, 0},
		{"a clean stop between", []streaming.Mark{claim, begun(0, 0), release(0), claim, begun(3, 0)}, true, 1},
	} {
		d := newDoubt()
		for i := range c.marks {
			d.recall(&c.marks[i], int64(i))
		}
		times := d.times(&lane.Copy{ID: x})
		if (d.opened(4) != nil) != c.doubt || c.doubt && times != c.times {
			t.Errorf("%s: in doubt %v, begun %d times", c.name, d.opened(4) != nil, times)
		}
	}
}

// Owners that die soon after one another doubt twice as many copies each time; one that
// has got on, or stopped cleanly, begins anew.
func TestDoubtGrows(t *testing.T) {
	d, at, owner := newDoubt(), int64(0), int64(0)
	tell := func(kind streaming.MarkKind, n int) {
		for range n {
			if kind == streaming.MarkClaim {
				owner = at
			}
			d.recall(&streaming.Mark{Kind: kind, ID: streaming.HashID("giver", "x"), Epoch: owner}, at)
			at++
		}
	}
	for round := range 2 {
		for _, c := range []struct{ settled, want int }{
			{0, 4}, {3, 8}, {12, 16}, {20, 32}, {37, 4}, {8, 8}, {13, 4},
		} {
			tell(streaming.MarkClaim, 1)
			tell(streaming.MarkDone, c.settled)
			if got := d.opened(4).left; got != c.want {
				t.Errorf("round %d: after an owner that settled %d messages %d copies are in doubt, want %d", round, c.settled, got, c.want)
			}
		}
		tell(streaming.MarkRelease, 1)
		if d.opened(4) != nil {
			t.Error("there is doubt after a clean stop")
		}
	}
	tell(streaming.MarkClaim, 100)
	if got := d.opened(4).left; got != 4<<maxDoublings {
		t.Errorf("%d copies are in doubt at most", got)
	}
}
