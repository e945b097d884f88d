package lane

import "time"

// Next returns one thing to do, or None until something is reported or
// NextDue has come. With room false it starts nothing.
func (m *Machine) Next(now time.Time, room bool) Decision {
	if !m.opened {
		return Decision{}
	}
	for t, fired := m.timers.due(now); fired; t, fired = m.timers.due(now) {
		if t.c != nil {
			m.new.push(t.c)
		} else {
			m.wake(t.q)
		}
	}
	for {
		if m.out.len() > 0 {
			return m.out.pop()
		}
		switch {
		case m.new.len() > 0:
			m.await(m.new.pop(), now)
		case m.ready.len() > 0:
			q := m.ready.pop()
			q.queued = false
			m.look(q, now, room)
		case room && m.idle.len() > 0:
			q := m.idle.pop()
			q.idle = false
			m.look(q, now, room)
		default:
			return Decision{}
		}
	}
}

// NextDue is when Next will have something to do if nothing is reported.
func (m *Machine) NextDue() (time.Time, bool) {
	if len(m.timers) == 0 {
		return time.Time{}, false
	}
	return m.timers[0].at, true
}

// Runnable reports whether Next would start something if there were room.
func (m *Machine) Runnable() bool { return m.idle.len() > 0 }

// look decides what may be done for one key. Rules H and A of the delivery
// rules are these lines.
func (m *Machine) look(q *queue, now time.Time, room bool) {
	for len(q.copies) > 0 && q.busy == 0 { // H1, the key
		head := q.copies[0]
		if head.state != waiting {
			return
		}
		if drop, again := m.over(head); drop { // H4: asked now, in the key's turn
			m.drop(head, again)
			continue
		}
		if head.Log == m.dead && m.dead != Input {
			m.queueBehind(q, m.hold)
			return
		}
		if head.hasBusyTwin() { // H1, the ID
			return
		}
		if head.Log != Input && m.logs[Input].next <= head.Origin { // H2
			m.unread = append(m.unread, q)
			q.free = time.Time{}
			return
		}
		if head.Barrier && m.logs[Input].watermark() != head.Offset {
			return
		}
		if !head.Due.IsZero() && q.free.IsZero() {
			q.free = now
		}
		if wait := head.Due.Sub(now); wait > 0 { // H5
			if head.Log != Input {
				m.queueBehind(q, head.Log)
			}
			switch {
			case head.Payload != nil:
				m.timers.set(q, head.Due)
			case wait > ahead:
				m.timers.set(q, head.Due.Add(-ahead))
			default:
				m.load(head)
			}
			return
		}
		if head.Payload == nil {
			m.load(head)
			return
		}
		if !room {
			if !q.idle {
				q.idle = true
				m.idle.push(q)
			}
			return
		}
		head.state = busy
		q.busy++
		run := Decision{Action: Run, Copy: head}
		if !head.Due.IsZero() {
			run.Since = later(head.Due, q.free)
			q.free = time.Time{}
		}
		m.out.push(run)
		return
	}
}

// ahead is how long before a copy is due its value is fetched, so that it is in
// memory when it is.
const ahead = 500 * time.Millisecond

func (m *Machine) load(c *Copy) {
	c.state = loading
	m.out.push(Decision{Action: Load, Copy: c})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// queueBehind moves what is still on the input log off it, behind the key's
// oldest blocker and into that one's tier, so that the input log goes on (A2).
// Copies in tiers stay where they are (A3).
func (m *Machine) queueBehind(q *queue, tier Log) {
	if q.onMain == 0 {
		return
	}
	for _, c := range append([]*Copy(nil), q.copies[1:]...) {
		if c.Log != Input || c.state != waiting || c.Barrier {
			continue
		}
		if drop, again := m.over(c); drop {
			m.drop(c, again)
			continue
		}
		c.state = moving
		m.out.push(Decision{Action: Defer, Copy: c, Tier: tier})
	}
}

// over reports whether an acknowledged fact has ended a copy.
func (m *Machine) over(c *Copy) (drop, again bool) {
	if f, ok := m.facts.Settled(c.ID); ok && m.ends(f, c) {
		return true, f.Origin == c.Origin
	}
	if top := c.superseding(); top != nil {
		return true, top.Origin == c.Origin
	}
	return false, false
}

func (m *Machine) drop(c *Copy, again bool) {
	m.end(c)
	m.out.push(Decision{Action: Drop, Copy: c, Again: again})
}
