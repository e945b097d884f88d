package pipeline

import (
	"sync"
	"sync/atomic"
	"time"
)

// aloneLook is how often a lane looks whether the others have come to rest.
const aloneLook = 20 * time.Millisecond

// Alone lets one handler run alone in its worker: the lanes of a worker share
// it. While one lane holds it the others start nothing. A nil Alone knows of one
// lane.
type Alone struct {
	holder atomic.Pointer[Lane]

	mu    sync.Mutex
	lanes map[*Lane]bool
}

// join makes a lane known to the others.
func (a *Alone) join(l *Lane) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lanes == nil {
		a.lanes = make(map[*Lane]bool)
	}
	a.lanes[l] = true
}

// leave is the end of a lane.
func (a *Alone) leave(l *Lane) {
	if a == nil {
		return
	}
	a.mu.Lock()
	delete(a.lanes, l)
	a.mu.Unlock()
	a.release(l)
}

// allows reports whether a lane may start a handler. What it starts then is seen by
// the holder: a lane is active before it asks.
func (a *Alone) allows(l *Lane) bool {
	if a == nil {
		return true
	}
	h := a.holder.Load()
	return h == nil || h == l
}

// take reports whether the lane is alone now. It has to ask again until it is.
func (a *Alone) take(l *Lane) bool {
	if a == nil {
		return true
	}
	if !a.holder.CompareAndSwap(nil, l) && a.holder.Load() != l {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for other := range a.lanes {
		if other != l && other.active.Load() {
			return false
		}
	}
	return true
}

// release lets the others go on.
func (a *Alone) release(l *Lane) {
	if a == nil || a.holder.Load() != l || !a.holder.CompareAndSwap(l, nil) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for other := range a.lanes {
		other.post(func() {})
	}
}

// rest tells the other lanes whether this one has something under way. In doubt
// that lasts until it is settled: a process that dies before would leave it begun.
func (l *Lane) rest() {
	active := l.running > 0 || l.doubt != nil && (l.appends > 0 || len(l.staged) > 0)
	l.active.Store(active)
	if !active {
		l.cfg.Alone.release(l)
	}
}

// aloneThen calls do on the lane's goroutine once no other lane of the worker has
// anything under way. The others go on when what do has begun is settled.
func (l *Lane) aloneThen(do func()) {
	if l.cfg.Alone.take(l) {
		do()
		return
	}
	l.lookAgain(func() { l.aloneThen(do) })
}

// lookAgain calls do on the lane's goroutine after a while, unless it closes.
func (l *Lane) lookAgain(do func()) {
	time.AfterFunc(aloneLook, func() {
		l.post(func() {
			if !l.closing {
				do()
			}
		})
	})
}
