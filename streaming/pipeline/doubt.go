package pipeline

import (
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// maxBegun is how often a handler may take its process down with it.
const maxBegun = 2

// doubt is what a lane knows of a predecessor that did not stop cleanly: one of
// its handlers may have killed the process. So the first copies are started one at
// a time, each after a mark that says so: as many as run side by side, and twice as
// many as the last time if an owner in doubt dies soon after. So the guilty one, which
// may stand behind many, is among them after a few starts.
type doubt struct {
	owner   int64 // claim of the last owner
	clean   bool  // it has released the lane
	begun   map[streaming.MessageID]begun
	settled []int // by each owner since the last clean stop, how many messages

	left    int  // copies still to be started one at a time
	waiting bool // one waits to be alone in its worker
}

// begun counts the starts of a copy, of that many moves, that have no end.
type begun struct{ moves, times int }

func newDoubt() *doubt {
	return &doubt{owner: -1, clean: true, begun: make(map[streaming.MessageID]begun)}
}

// recall takes a mark of a former owner.
func (d *doubt) recall(m *streaming.Mark, offset int64) {
	owner := m.Epoch
	if m.Kind == streaming.MarkClaim {
		owner = offset
	}
	if owner > d.owner {
		d.owner, d.clean = owner, false
		d.settled = append(d.settled, 0)
	}
	switch m.Kind {
	case streaming.MarkBegun:
		if owner < d.owner {
			return // of one that was frozen and has woken: it lives, and its handler beside the owner's
		}
		b := d.begun[m.ID]
		if b.moves != m.Moves {
			b = begun{moves: m.Moves} // it has failed since, and lived
		}
		b.times++
		d.begun[m.ID] = b
	case streaming.MarkDone, streaming.MarkDead:
		delete(d.begun, m.ID)
		if n := len(d.settled); owner == d.owner && n > 0 {
			d.settled[n-1]++
		}
	case streaming.MarkRelease:
		if m.Epoch == d.owner {
			d.clean, d.settled = true, nil
			clear(d.begun)
		}
	}
}

// opened returns the doubt that an open lane starts with: none after a clean stop, else
// of that many copies at first. An owner that has settled no more than those it doubted
// and as many as then ran side by side has died of one that it did not doubt.
func (d *doubt) opened(parallel int) *doubt {
	if d.clean {
		return nil
	}
	d.left = parallel
	for _, settled := range d.settled[1:] {
		if settled > d.left+parallel {
			d.left = parallel
		} else {
			d.left = min(2*d.left, parallel<<maxDoublings)
		}
	}
	return d
}

// maxDoublings bounds how many copies are started one at a time.
const maxDoublings = 10

// times is how often that copy was begun without an end.
func (d *doubt) times(c *lane.Copy) int {
	if b := d.begun[c.ID]; b.moves == c.Moves {
		return b.times
	}
	return 0
}

// room reports whether a handler may be started.
func (l *Lane) room(now time.Time) bool { return l.mayStart(now) && l.turn.take(now) }

// mayStart is room as far as the lane shares no limit with others.
func (l *Lane) mayStart(now time.Time) bool {
	if l.doubt != nil {
		switch {
		case l.running > 0 || l.appends > 0 || len(l.staged) > 0 || l.doubt.waiting:
			return false // what the one before has come to is not durable yet
		case l.doubt.left <= 0:
			l.doubt = nil
		}
	}
	return l.running < l.cfg.Parallel && l.cfg.Breaker.Ready(now) && l.cfg.Gate.isOpen() && l.cfg.Alone.allows(l)
}

// begin starts a copy in doubt: at once, or, if it was begun and not ended
// before, when nothing else runs in this worker, so that no other is taken for it.
// What has taken two processes down is not started a third time.
func (l *Lane) begin(c *lane.Copy, m *message) {
	l.active.Store(true)
	if !l.cfg.Alone.allows(l) {
		l.doubt.waiting = true
		l.lookAgain(func() { l.begin(c, m) })
		return
	}
	l.doubt.waiting = false
	l.doubt.left--
	switch n := l.doubt.times(c); {
	case n >= maxBegun:
		l.kill(c, m, streaming.ReasonCrash, c.Attempts+n, fmt.Errorf("its process died %d times while it was handled", n))
	case n > 0:
		l.doubt.waiting = true
		l.aloneThen(func() {
			l.doubt.waiting = false
			l.mark(c, m)
		})
	default:
		l.mark(c, m)
	}
}

// mark makes it durable that a copy is begun, then runs it.
func (l *Lane) mark(c *lane.Copy, m *message) {
	l.running++
	l.conclude(&conclusion{
		mark: &streaming.Mark{
			Kind: streaming.MarkBegun, ID: c.ID, Moves: c.Moves, Origin: c.Origin, Epoch: l.epoch, Time: l.cfg.Clock.Now(),
		},
		settled: func([]int64, int64) {
			l.running--
			switch {
			case l.closing:
				l.machine.GiveBack(c)
			case !l.cfg.Gate.isOpen(): // closed while the mark was under way: it is begun anew when it opens
				if l.doubt != nil {
					l.doubt.left++
				}
				l.cameBack(c)
				l.machine.GiveBack(c)
			default:
				l.launch(c, m)
			}
		},
	})
}

// cameBack makes it durable that a handler which was begun in doubt has come back,
// though its message is not settled: as a start of no copy.
func (l *Lane) cameBack(c *lane.Copy) {
	if l.doubt == nil {
		return
	}
	l.conclude(&conclusion{
		mark: &streaming.Mark{
			Kind: streaming.MarkBegun, ID: c.ID, Moves: -1, Origin: c.Origin, Epoch: l.epoch, Time: l.cfg.Clock.Now(),
		},
		settled: func([]int64, int64) {},
	})
}

// drained reports whether a lane that closes has nothing under way any more, and
// has said so in the ledger: its last mark tells the next owner that no handler
// was running.
func (l *Lane) drained() bool {
	switch {
	case l.running > 0 || l.appends > 0 || len(l.staged) > 0 || !l.inbox.isEmpty():
		return false
	case l.failure != nil || l.released:
		return true
	}
	l.conclude(&conclusion{
		mark:    &streaming.Mark{Kind: streaming.MarkRelease, Origin: -1, Epoch: l.epoch, Time: l.cfg.Clock.Now()},
		settled: func([]int64, int64) { l.released = true },
	})
	l.flush()
	return false
}
