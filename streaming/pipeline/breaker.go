package pipeline

import (
	"sync"
	"time"
)

const (
	breakerFirst = time.Second // the first pause; each that follows is twice as long
	breakerMost  = time.Minute
	breakerLook  = 20 * time.Millisecond // how often a lane looks whether a probe has come back
)

// Breaker pauses an agent while something that its handlers need is down. It
// opens when a handler says so; after a pause it lets one message through as a
// probe, and closes when a handler comes back with any other outcome. All lanes
// of a worker share one. A nil Breaker is always closed.
type Breaker struct {
	mu      sync.Mutex
	until   time.Time // zero: closed
	pause   time.Duration
	probing bool
}

// Ready reports whether a message may be started.
func (b *Breaker) Ready(now time.Time) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until.IsZero() || !now.Before(b.until)
}

// Started tells that a handler was started: while the breaker is open, it is the
// probe. If it never comes back, because its lane was lost, the next may go
// after a while.
func (b *Breaker) Started(now time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.until.IsZero() {
		b.until, b.probing = now.Add(breakerMost), true
	}
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
	return b.until
}

// Available closes the breaker.
func (b *Breaker) Available() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until, b.probing = time.Time{}, false
}

// Until is when the next probe may go, while the breaker is open.
func (b *Breaker) Until() (time.Time, bool) {
	if b == nil {
		return time.Time{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until, !b.until.IsZero()
}
