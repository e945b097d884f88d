package lane

// Carry picks waiting copies of a tier that stand below an offset, at most so
// many, to be appended to the same tier again, and what that has come to to be
// reported as Moved, or as GiveBack. What waits for long, behind a dead letter or
// for a far-off time, would else hold the watermark of its log for as long. A copy
// that a fact has ended meanwhile is dropped: with one more move it would outlive
// the fact.
func (m *Machine) Carry(log Log, below int64, most int) []*Copy {
	if log == Input || log == m.dead {
		return nil
	}
	var some, ended []*Copy
	for _, p := range m.logs[log].known {
		if p.offset >= below || len(some) == most {
			break
		}
		c := p.copy
		if c == nil || c.state != waiting {
			continue
		}
		if drop, _ := m.over(c); drop {
			ended = append(ended, c)
		} else if c.isEldest() {
			c.state = moving
			some = append(some, c)
		}
	}
	for _, c := range ended {
		_, again := m.over(c)
		m.drop(c, again)
	}
	return some
}

// isEldest reports whether no other live copy of the message comes from an older
// record. A duplicate that was carried would supersede the record that it repeats,
// and the message would lose its place in its key to it.
func (c *Copy) isEldest() bool {
	for t := c.twin; t != nil && t != c; t = t.twin {
		if t.Origin < c.Origin {
			return false
		}
	}
	return true
}
