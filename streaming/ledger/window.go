// Package ledger is the durable memory of settled messages. A lane asks it
// before a handler runs and marks it after.
package ledger

import (
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// Window is what a lane remembers of its ledger: the facts of a span of time,
// bounded in number. The zero value of a bound means no bound. It is not safe
// for concurrent use.
type Window struct {
	Span time.Duration
	Size int

	now   func() time.Time
	facts map[streaming.MessageID]lane.Fact
	order []entry // oldest first
}

type entry struct {
	id streaming.MessageID
	at int64 // Unix milliseconds
}

// NewWindow returns an empty window.
func NewWindow(span time.Duration, size int, now func() time.Time) *Window {
	return &Window{Span: span, Size: size, now: now, facts: make(map[streaming.MessageID]lane.Fact)}
}

// Settled implements lane.Facts.
func (w *Window) Settled(id streaming.MessageID) (lane.Fact, bool) {
	f, ok := w.facts[id]
	return f, ok
}

// Settle implements lane.Facts.
func (w *Window) Settle(id streaming.MessageID, f lane.Fact) { w.SettleAt(id, f, w.now()) }

// SettleAt remembers a fact that was marked at that time.
func (w *Window) SettleAt(id streaming.MessageID, f lane.Fact, at time.Time) {
	known, ok := w.facts[id]
	if !ok {
		w.order = append(w.order, entry{id, at.UnixMilli()})
	}
	if ok && (known.Done || !f.Done && known.Moves >= f.Moves) {
		return
	}
	w.facts[id] = f
}

// Len is the number of messages remembered.
func (w *Window) Len() int { return len(w.facts) }

// Start is the time from which on every settled message is remembered.
func (w *Window) Start() time.Time {
	if len(w.order) == 0 {
		return w.now()
	}
	return time.UnixMilli(w.order[0].at)
}

// Evict forgets what is older than the window or beyond its size. A lane calls
// it only when it is open: until the copies that wait in the tiers have been
// held against the facts, an old fact may still be needed.
func (w *Window) Evict() {
	n := 0
	if w.Size > 0 && len(w.order) > w.Size {
		n = len(w.order) - w.Size
	}
	if w.Span > 0 {
		limit := w.now().Add(-w.Span).UnixMilli()
		for n < len(w.order) && w.order[n].at < limit {
			n++
		}
	}
	for _, e := range w.order[:n] {
		delete(w.facts, e.id)
	}
	w.order = w.order[n:]
}
