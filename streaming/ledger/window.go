// Package ledger is the durable memory of settled messages. A lane asks it
// before a handler runs and marks it after.
package ledger

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// Window is what a lane remembers of its ledger: the facts of a span of time,
// bounded in number. The zero value of a bound means no bound. A million
// messages take 62 MiB, and nothing in it is a pointer that the collector would
// follow. It is not safe for concurrent use, except for Since and Reach.
type Window struct {
	Span time.Duration
	Size int // entries: a message whose fact was replaced counts twice until the older one has left

	now     func() time.Time
	index   index
	entries entries
	added   int // since the last eviction
	// cut is the latest time of an entry that was evicted for the size, in Unix
	// milliseconds.
	cut atomic.Int64
}

// NewWindow returns an empty window.
func NewWindow(span time.Duration, size int, now func() time.Time) *Window {
	w := &Window{Span: span, Size: size, now: now, index: newIndex()}
	w.cut.Store(math.MinInt64)
	return w
}

func (w *Window) find(id *streaming.MessageID) (e *entry, at, hash uint32) {
	hash = w.index.hash(id)
	at, ok := w.index.find(hash, func(number uint32) bool { return w.entries.at(number).id == *id })
	if !ok {
		return nil, 0, hash
	}
	return w.entries.at(uint32(w.index.slots[at])), at, hash
}

// Settled implements lane.Facts.
func (w *Window) Settled(id streaming.MessageID) (lane.Fact, bool) {
	e, _, _ := w.find(&id)
	if e == nil {
		return lane.Fact{}, false
	}
	return lane.Fact{Done: e.state&done != 0, Moves: int(e.state & counts), Origin: e.origin}, true
}

// Settle implements lane.Facts.
func (w *Window) Settle(id streaming.MessageID, f lane.Fact) { w.SettleAt(id, f, w.now()) }

// SettleAt remembers a fact that was marked at that time. A fact that replaces
// another is as young as its own mark.
func (w *Window) SettleAt(id streaming.MessageID, f lane.Fact, at time.Time) {
	e := entry{id: id, at: at.UnixMilli(), origin: f.Origin, state: uint32(min(max(f.Moves, 0), counts))}
	if f.Done {
		e.state |= done
	}
	known, slotAt, hash := w.find(&id)
	if known == nil {
		w.added++
		w.index.add(hash, w.entries.push(e))
		return
	}
	if known.state&done != 0 || !f.Done && known.state&counts >= e.state {
		return
	}
	e.answer = known.answer
	w.added++
	known.state |= stale
	w.index.slots[slotAt] = slot(hash, w.entries.push(e))
}

// Keep remembers that the ledger holds a copy of a request's answer at that
// offset. It goes with the fact.
func (w *Window) Keep(id streaming.MessageID, offset int64) {
	if e, _, _ := w.find(&id); e != nil {
		e.answer = offset + 1
	}
}

// Answer is the ledger offset of the copy of a request's answer, if there is one.
func (w *Window) Answer(id streaming.MessageID) (offset int64, ok bool) {
	e, _, _ := w.find(&id)
	if e == nil || e.answer == 0 {
		return 0, false
	}
	return e.answer - 1, true
}

// Len is the number of messages remembered.
func (w *Window) Len() int { return w.index.used }

// Evict forgets what is older than the window or beyond its size, except what
// needed accepts: a message of which a copy waits, or whose record may be read
// again, must meet the fact that ends it, however old that is. A lane calls it only
// when it is open: until the copies in the tiers have been held against the facts,
// any of them may still be needed.
//
// One call looks at twice as many entries as were added since the last one, and
// a few: what is needed for long costs no more than what is forgotten.
func (w *Window) Evict(needed func(id streaming.MessageID, origin int64) bool) {
	limit := int64(math.MinInt64)
	if w.Span > 0 {
		limit = w.now().Add(-w.Span).UnixMilli()
	}
	left := min(w.entries.len(), 2*w.added+evictAtLeast)
	w.added = 0
	for ; left > 0; left-- {
		e := *w.entries.at(w.entries.first)
		old := e.at < limit
		if !old && (w.Size <= 0 || w.entries.len() <= w.Size) {
			return
		}
		number := w.entries.first
		w.entries.pop()
		if e.state&stale != 0 {
			continue
		}
		hash := w.index.hash(&e.id)
		at, _ := w.index.find(hash, func(n uint32) bool { return n == number })
		if needed(e.id, e.origin) {
			w.index.slots[at] = slot(hash, w.entries.push(e))
			continue
		}
		w.index.remove(at)
		if !old && e.at > w.cut.Load() {
			w.cut.Store(e.at)
		}
	}
}

const evictAtLeast = 64

// Over is the number of entries beyond the window's size: what is needed still.
func (w *Window) Over() int {
	if w.Size <= 0 {
		return 0
	}
	return max(w.entries.len()-w.Size, 0)
}

// Since is the time from which on every settled message is remembered: the later
// of the bound in time and of what the bound in size has cost. What was marked
// before it is not needed any more.
func (w *Window) Since() time.Time {
	since := time.UnixMilli(w.cut.Load() + 1)
	if w.Span > 0 {
		if span := w.now().Add(-w.Span); span.After(since) {
			return span
		}
	}
	return since
}

// Reach is the effective window: how far back every settled message is
// remembered, at most Span.
func (w *Window) Reach() time.Duration {
	reach := w.now().Sub(time.UnixMilli(w.cut.Load() + 1))
	if w.Span > 0 {
		return min(reach, w.Span)
	}
	return reach
}
