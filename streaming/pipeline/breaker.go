package pipeline

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	breakerFirst = time.Second // the first pause; each that follows is twice as long
	breakerMost  = time.Minute
	breakerLook  = 20 * time.Millisecond // the least time between two looks of a lane
)

// Breaker pauses an agent while something that its handlers need is down. It
// opens when a handler says so; after a pause it lets one message through as a
// probe, and closes when a handler comes back with any other outcome. All lanes
// of a worker share one. A nil Breaker is always closed.
type Breaker struct {
	// Closed is called each time it closes: the lanes have to look again. It must
	// not block.
	Closed func()

	open atomic.Bool // until is set: who finds it closed needs no lock

	mu      sync.Mutex
	until   time.Time // zero: closed
	pause   time.Duration
	probing bool
}

// Ready reports whether a message may be started.
func (b *Breaker) Ready(now time.Time) bool {
	if b == nil || !b.open.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until.IsZero() || !now.Before(b.until)
}

// Start asks to start a handler. While the breaker is open only one may, as a
// probe, when its pause has passed; Ready has said the same to every lane. If the
// probe never comes back, because its lane was lost, the next may go after a
// while.
func (b *Breaker) Start(now time.Time) bool {
	if b == nil || !b.open.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return true
	case now.Before(b.until):
		return false
	}
	b.until, b.probing = now.Add(breakerMost), true
	return true
}

// Unavailable opens the breaker, or keeps it open for twice as long, and
// returns until when.
func (b *Breaker) Unavailable(now time.Time) time.Time {
	if b == nil {
		return now.Add(breakerFirst)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		b.pause = breakerFirst
	case b.probing:
		b.pause = min(2*b.pause, breakerMost)
	default: // started before it opened: it says nothing new
		return b.until
	}
	b.until, b.probing = now.Add(b.pause), false
	b.open.Store(true)
	return b.until
}

// Available closes the breaker.
func (b *Breaker) Available() {
	if b == nil || !b.open.Load() {
		return
	}
	b.mu.Lock()
	closes := !b.until.IsZero()
	b.until, b.probing = time.Time{}, false
	b.open.Store(false)
	b.mu.Unlock()
	if closes && b.Closed != nil {
		b.Closed()
	}
}

// Until is when the next probe may go, while the breaker is open.
func (b *Breaker) Until() (time.Time, bool) {
	if b == nil || !b.open.Load() {
		return time.Time{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until, !b.until.IsZero()
}
