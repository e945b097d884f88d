package worker

import (
	"context"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// patience is how long polling waits for full lanes before it pauses them.
const patience = 200 * time.Millisecond

// flow is whether a lane's input is fetched. A pause throws away what was
// fetched of the partition and not yet polled, to be fetched again: where lanes
// fill and empty many times a second, a third of what is handled. So polling
// waits for a full lane first. One that gets no room meanwhile is paused, so that
// it holds up no other; and from then on at once, until it is quick again.
type flow struct {
	full   bool
	slow   bool
	paused time.Time // since when; zero: it is fetched
}

// deliver hands what was read to its lane.
func (ls *lanes) deliver(tp streaming.TopicPartition, recs []streaming.Record) {
	ls.mu.Lock()
	r, ok := ls.routes[tp]
	ls.mu.Unlock()
	if !ok {
		return
	}
	o := r.owned
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.lane.Offer(r.tier, recs):
	case o.flow.slow:
		ls.pause(o)
	default:
		o.flow.full = true
		ls.waiting = append(ls.waiting, o)
	}
}

// awaitRoom waits until no lane is full, patience has passed or ctx ends.
func (ls *lanes) awaitRoom(ctx context.Context) {
	if len(ls.waiting) == 0 {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		ls.waiting = slices.DeleteFunc(ls.waiting, func(o *owned) bool { return !ls.isFull(o) })
		if len(ls.waiting) == 0 {
			return
		}
		select {
		case <-ls.room:
		case <-ctx.Done():
			return
		case <-timer.C:
			for _, o := range ls.waiting {
				o.mu.Lock()
				if o.flow.full {
					o.flow.slow = true
					ls.pause(o)
				}
				o.mu.Unlock()
			}
			ls.waiting = nil
			return
		}
	}
}

// isFull reports whether a lane that is still routed to has no room.
func (ls *lanes) isFull(o *owned) bool {
	ls.mu.Lock()
	routed := ls.routes[o.tp].owned == o
	ls.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	return routed && o.flow.full
}

// pause stops fetching of a lane's input. The caller holds o.mu.
func (ls *lanes) pause(o *owned) {
	o.flow.full = true
	if o.flow.paused.IsZero() {
		o.flow.paused = time.Now()
		ls.w.log.Pause([]streaming.TopicPartition{o.tp})
	}
}

// hasRoom lets a lane's input be fetched again.
func (ls *lanes) hasRoom(o *owned) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flow.full = false
	if at := o.flow.paused; !at.IsZero() {
		o.flow.paused = time.Time{}
		o.flow.slow = time.Since(at) > patience
		ls.w.log.Resume([]streaming.TopicPartition{o.tp})
	}
	select {
	case ls.room <- struct{}{}:
	default:
	}
}
