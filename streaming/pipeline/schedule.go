package pipeline

import (
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// heldAhead is how long before a copy is due its value may be in memory: longer
// than the default tiers. What is far off is read again in time, so that it takes
// no memory from what is soon.
const heldAhead = 15 * time.Minute

// schedule makes an input copy wait until that time: in the largest tier that
// the wait fills, or on the input log if there is none. A barrier is obeyed in its
// place, so it waits there.
func (l *Lane) schedule(c *lane.Copy, at time.Time) {
	wait := at.Sub(l.cfg.Clock.Now())
	if wait <= 0 {
		return
	}
	c.Due = at
	c.Scheduled = !c.Barrier
	c.Wait = lane.Log(l.cfg.Policy.Tier(wait))
}

// order gives a copy the key that it waits in. Where order is off, and for a
// barrier, that is its message's own: only copies of one message exclude each other.
func (l *Lane) order(c *lane.Copy) {
	if l.cfg.Unordered || c.Barrier {
		c.Key = "i" + string(c.ID[:])
	}
}

// keeps reports whether the value of a copy in a tier is kept in memory.
func (l *Lane) keeps(c *lane.Copy) bool {
	if l.cfg.Hold && int(c.Log) == len(l.cfg.Tiers) {
		return false // who waits in the hold log may wait for long
	}
	if _, held := l.machine.Bytes(); l.machine.Held() >= l.cfg.MaxHeld || held+c.Size > l.cfg.Memory.half() {
		return false
	}
	return c.Due.IsZero() || c.Due.Sub(l.cfg.Clock.Now()) < heldAhead
}

// lateness observes how long after a copy could have been handed over it is: since
// is the later of its due time and its key being free.
func (l *Lane) lateness(since, now time.Time) {
	if l.opened.After(since) {
		since = l.opened
	}
	l.cfg.Observer.RetryLateness(now.Sub(since))
}

// isCrowded reports whether the index of waiting copies is full, and says so once.
// A copy that waits for the input log to be read on keeps it open.
func (l *Lane) isCrowded() bool {
	n, unread := l.machine.Waiting()
	full := l.cfg.MaxWaiting > 0 && n >= l.cfg.MaxWaiting && !unread
	switch {
	case full && !l.told:
		l.told = true
		l.cfg.Logger.Warn("the input pauses: too many messages wait to be tried again; raise MaxWaiting or see to what they wait for",
			"topic", l.cfg.Topic, "partition", l.cfg.Partition, "waiting", n)
	case n < l.cfg.MaxWaiting/2 && l.told:
		l.told = false
		l.cfg.Logger.Info("the input goes on", "topic", l.cfg.Topic, "partition", l.cfg.Partition, "waiting", n)
	}
	return full
}
