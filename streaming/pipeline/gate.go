package pipeline

import "sync/atomic"

// Gate holds back the starting of handlers in all lanes of a worker. What runs
// goes on, and so do reading, marks, commits and retries until their turn. The
// zero value is open, and so is a nil Gate.
type Gate struct {
	closed atomic.Bool
}

// Close makes no handler start any more.
func (g *Gate) Close() { g.closed.Store(true) }

// Open lets handlers start; wake the lanes afterwards.
func (g *Gate) Open() { g.closed.Store(false) }

// isOpen reports whether a handler may be started.
func (g *Gate) isOpen() bool { return g == nil || !g.closed.Load() }

// Wake makes the lane look again at what may be done.
func (l *Lane) Wake() { l.post(func() {}) }
