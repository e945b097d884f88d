package lane

// The live copies of one message are twins: a ring, through Copy.twin, of which
// Machine.live holds one. Nearly every copy is alone, and its twin is nil.

// meet makes a copy known under its ID. The twins that it ends, having more
// moves, are looked at.
func (m *Machine) meet(c *Copy) {
	other := m.live[c.ID]
	if other == nil {
		m.live[c.ID] = c
		return
	}
	if other.twin == nil {
		other.twin = other
	}
	c.twin, other.twin = other.twin, c
	for t := c.twin; t != c; t = t.twin {
		if t.Moves < c.Moves {
			m.wakeCopy(t)
		}
	}
}

// part takes a copy out of its ring.
func (m *Machine) part(c *Copy) {
	if c.twin == nil {
		delete(m.live, c.ID)
		return
	}
	before := c.twin
	for before.twin != c {
		before = before.twin
	}
	m.live[c.ID] = before
	if before.twin = c.twin; before.twin == before {
		before.twin = nil
	}
	c.twin = nil
}

// superseding returns the twin with the most moves, if they are more than the
// copy's.
func (c *Copy) superseding() *Copy {
	var top *Copy
	for t := c.twin; t != nil && t != c; t = t.twin {
		if t.Moves > c.Moves && (top == nil || t.Moves > top.Moves) {
			top = t
		}
	}
	return top
}

// hasBusyTwin reports whether another copy of the message is between its start
// and its settlement.
func (c *Copy) hasBusyTwin() bool {
	for t := c.twin; t != nil && t != c; t = t.twin {
		if t.state == busy || t.state == staged {
			return true
		}
	}
	return false
}

// wakeTwins has the others looked at that may have waited for a copy.
func (m *Machine) wakeTwins(c *Copy) {
	for t := c.twin; t != nil && t != c; t = t.twin {
		m.wakeCopy(t)
	}
}
