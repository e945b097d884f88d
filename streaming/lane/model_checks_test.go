package lane_test

import (
	"slices"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// checkScheduled: a scheduled message that was due and known when the machine had
// nothing to do has taken its place: none of its key that is younger goes first.
func (w *world) checkScheduled(c *lane.Copy) {
	if w.unordered {
		return
	}
	for off, msg := range w.input[:min(c.Origin, w.noneRead)] {
		older := &lane.Copy{ID: msg.id, Moves: 0}
		if msg.at.IsZero() || msg.key != c.Key || msg.id == c.ID || msg.at.After(w.noneAt) || w.o.moving[msg.id] > 0 || w.noneMoving[msg.id] > 0 || w.settled(older) || w.isStaged(msg.id) {
			continue
		}
		w.fail("key %s: origin %d is started before %d, which was due", c.Key, c.Origin, off)
	}
}

// checkHeld: no younger message of a key starts until an older one that died is
// done or discarded, redriven or not.
func (w *world) checkHeld(c *lane.Copy) {
	if !w.hold {
		return
	}
	for _, d := range w.dead {
		if d.key == c.Key && d.origin < c.Origin && d.at.IsZero() && !w.letGone(d.id) && !w.isStaged(d.id) && !w.settled(&lane.Copy{ID: d.id, Moves: 1 << 20}) {
			w.fail("key %s: origin %d is started past the dead letter of %d", c.Key, c.Origin, d.origin)
		}
	}
}

func (w *world) letGone(id streaming.MessageID) bool {
	return slices.ContainsFunc(w.dead, func(d record) bool { return d.id == id && d.discarded })
}

// settled looks at marks and dead letters only.
func (w *world) settled(c *lane.Copy) bool {
	for _, m := range w.marks {
		if m.id == c.ID && (m.done || c.Moves <= m.moves) {
			return true
		}
	}
	for _, d := range w.dead {
		if d.id == c.ID && c.Moves <= d.moves {
			return true
		}
	}
	return false
}

// endedByFact looks at the durable state only.
func (w *world) endedByFact(c *lane.Copy) bool {
	if w.settled(c) {
		return true
	}
	for _, tier := range w.tiers {
		for _, r := range tier {
			if r.id == c.ID && r.moves > c.Moves {
				return true
			}
		}
	}
	return false
}

func (w *world) check() {
	for off, msg := range w.input {
		done, dead := 0, 0
		for _, m := range w.marks {
			if m.id == msg.id && m.done {
				done++
			}
		}
		for _, d := range w.dead {
			if d.id == msg.id && !d.redriven {
				dead++
			}
		}
		if done+dead != 1 {
			w.fail("message at %d of %s: done %d times and dead %d times", off, msg.key, done, dead)
		}
	}
	for i := range w.committed {
		end := int64(len(w.input))
		if i > 0 {
			end = w.o.read[i]
		}
		if at := w.o.m.Watermark(lane.Log(i)); at != end {
			w.fail("all is settled, but log %d can be committed up to %d of %d only", i, at, end)
		}
	}
}
