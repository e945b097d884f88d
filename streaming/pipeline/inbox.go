package pipeline

import (
	"sync"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// inbox holds what has happened until the lane takes it, all at once. What
// happens for each message lies there as a value, in the order of its kind; the
// rest is a function that runs before.
type inbox struct {
	mu       sync.Mutex
	wake     chan struct{}
	incoming happened
}

// happened is what has come in since the lane has looked.
type happened struct {
	events   []func()
	receipts []receipt
	attempts []*attempt
	offers   []offer
}

// receipt is the answer to an append.
type receipt struct {
	to     acked
	offset int64
	err    error
}

// acked is told on the lane's goroutine what became of its append.
type acked interface {
	acked(offset int64, err error)
}

type ackedFunc func(offset int64, err error)

func (f ackedFunc) acked(offset int64, err error) { f(offset, err) }

// offer is records that were read from a log.
type offer struct {
	log   lane.Log
	recs  []streaming.Record
	bytes int
}

func (h *happened) isEmpty() bool {
	return len(h.events) == 0 && len(h.receipts) == 0 && len(h.attempts) == 0 && len(h.offers) == 0
}

// reset empties it and keeps its room.
func (h *happened) reset() {
	clear(h.events)
	clear(h.receipts)
	clear(h.attempts)
	clear(h.offers)
	h.events, h.receipts, h.attempts, h.offers = h.events[:0], h.receipts[:0], h.attempts[:0], h.offers[:0]
}

// put adds something and wakes the lane, unless that has been done already.
func (b *inbox) put(add func(*happened)) {
	b.mu.Lock()
	first := b.incoming.isEmpty()
	add(&b.incoming)
	b.mu.Unlock()
	if first {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// take swaps what has come in for an empty one.
func (b *inbox) take(empty happened) happened {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.incoming
	b.incoming = empty
	return taken
}

func (b *inbox) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.incoming.isEmpty()
}
