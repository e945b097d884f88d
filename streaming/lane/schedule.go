package lane

import (
	"container/heap"
	"time"
)

// await decides for a scheduled copy that stands in no queue yet. Until it is
// due the others of its key pass it; when it is, it takes its place by origin,
// and the rules of order hold for it as for any other.
func (m *Machine) await(c *Copy, now time.Time) {
	wait := c.Due.Sub(now)
	if c.queue != nil || c.state != waiting && (c.state != loading || wait > 0) {
		return
	}
	if drop, again := m.over(c); drop {
		m.drop(c, again)
		return
	}
	switch {
	case wait <= 0:
		if q := m.place(c); q.copies[0] == c && q.busy == 0 {
			q.free = c.Due
		}
	case c.Log == Input && c.Wait != Input:
		c.state = moving
		m.out.push(Decision{Action: Defer, Copy: c, Tier: c.Wait})
	case c.Payload != nil:
		heap.Push(&m.timers, timer{at: c.Due, c: c})
	case wait > ahead:
		heap.Push(&m.timers, timer{at: c.Due.Add(-ahead), c: c})
	default:
		m.load(c)
		heap.Push(&m.timers, timer{at: c.Due, c: c}) // however long that takes
	}
}
