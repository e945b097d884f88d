package lane

import (
	"container/heap"
	"time"
)

// queue holds the live copies of one key, by origin; of one origin, the copy
// with the most moves first.
type queue struct {
	key    string
	copies []*Copy
	room   [1]*Copy  // for copies: most keys have one
	onMain int       // copies on the input log
	busy   int       // copies of this key between their start and their settlement, staged ones apart
	queued bool      // in Machine.ready
	idle   bool      // in Machine.idle
	timer  time.Time // what Machine.timers holds for it
	free   time.Time // since when its head, if it has a due time, waits for nothing else; zero: not known to
}

func (q *queue) insert(c *Copy) {
	if q.copies == nil {
		q.copies = q.room[:0]
	}
	i := len(q.copies)
	for i > 0 && before(c, q.copies[i-1]) {
		i--
	}
	q.copies = append(q.copies, nil)
	copy(q.copies[i+1:], q.copies[i:])
	q.copies[i] = c
	if i == 0 {
		q.free = time.Time{}
	}
	if c.Log == Input {
		q.onMain++
	}
}

func before(a, b *Copy) bool {
	return a.Origin < b.Origin || a.Origin == b.Origin && a.Moves > b.Moves
}

func (q *queue) remove(c *Copy) {
	for i, other := range q.copies {
		if other != c {
			continue
		}
		if i == 0 {
			q.copies[0] = nil
			if q.copies = q.copies[1:]; len(q.copies) == 0 {
				q.copies = q.room[:0]
			}
			q.free = time.Time{}
		} else {
			q.copies = append(q.copies[:i], q.copies[i+1:]...)
		}
		if c.Log == Input {
			q.onMain--
		}
		return
	}
}

// timers is a heap of queues, and of scheduled copies that stand in none yet, by
// the time at which they are to be looked at.
type timers []timer

type timer struct {
	at time.Time
	q  *queue
	c  *Copy // instead of q
}

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

// set arms the queue's timer, unless it is armed for that time or an earlier
// one: when it fires the queue is looked at again in any case.
func (t *timers) set(q *queue, at time.Time) {
	if !q.timer.IsZero() && !q.timer.After(at) {
		return
	}
	q.timer = at
	heap.Push(t, timer{at: at, q: q})
}

// due takes the next whose time has come.
func (t *timers) due(now time.Time) (fired timer, ok bool) {
	if len(*t) == 0 || (*t)[0].at.After(now) {
		return timer{}, false
	}
	fired = heap.Pop(t).(timer)
	if fired.q != nil && fired.q.timer.Equal(fired.at) {
		fired.q.timer = time.Time{}
	}
	return fired, true
}
