package lane_test

import (
	"slices"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// What the owner of the model does exactly once: it stages what is done, and lets the
// next of its key start. Writes are transactions: in their order, and lost with a crash.

// done writes that a message is done.
func (w *world) done(c *lane.Copy) {
	o := w.o
	if c.Overtaken() {
		w.say("give back %s/%d, overtaken", name(c), c.Moves)
		w.undone(c)
		return
	}
	next := write{done: c, commit: func() func() {
		w.say("mark %s done", name(c))
		if w.atomic && c.Origin < w.lastEnd[c.Key] && !w.revived[c.Origin] && w.input[c.Origin].at.IsZero() {
			w.fail("key %s: origin %d is done after %d", c.Key, c.Origin, w.lastEnd[c.Key])
		}
		w.lastEnd[c.Key] = max(w.lastEnd[c.Key], c.Origin)
		w.marks = append(w.marks, mark{id: c.ID, done: true, origin: c.Origin})
		return func() { o.m.Done(c) }
	}}
	if w.atomic && w.rnd.IntN(4) > 0 { // else something of it must not be seen before it is durable
		w.say("stage %s/%d", name(c), c.Moves)
		o.m.Staged(c)
		next.staged = true
	}
	o.writes = append(o.writes, next)
}

// refuse tells that what a staged message has come to can never be written: it fails,
// and so do those of its key that are staged after it, which are handled again.
func (w *world) refuse(c *lane.Copy) {
	o := w.o
	w.refusals--
	w.say("refuse %s/%d", name(c), c.Moves)
	o.m.Unstaged(c)
	w.lastRun[c.Key] = min(w.lastRun[c.Key], c.Origin)
	o.writes = slices.DeleteFunc(o.writes, func(later write) bool {
		if later.done == nil || later.done.Key != c.Key {
			return false
		}
		w.say("give back %s/%d, which was handled after it", name(later.done), later.done.Moves)
		o.m.Unstaged(later.done)
		w.undone(later.done)
		return true
	})
	w.fails[c.ID] = max(w.fails[c.ID], c.Attempts+1)
	w.failed(c)
}

// undone gives a message back that was handled too early: its run does not count.
func (w *world) undone(c *lane.Copy) {
	w.lastRun[c.Key] = min(w.lastRun[c.Key], c.Origin)
	w.o.m.GiveBack(c)
}

// isStaged reports whether a message is as good as done.
func (w *world) isStaged(id streaming.MessageID) bool {
	return slices.ContainsFunc(w.o.writes, func(wr write) bool { return wr.staged && wr.done.ID == id })
}
