package lane

// Carry picks waiting copies of a tier that stand below an offset, at most so
// many, to be appended to the same tier again, and what that has come to to be
// reported as Moved, or as GiveBack. What waits for long, behind a dead letter or
// for a far-off time, would else hold the watermark of its log for as long.
func (m *Machine) Carry(log Log, below int64, most int) []*Copy {
	var some []*Copy
	for _, p := range m.logs[log].known {
		if p.offset >= below || len(some) == most {
			break
		}
		if p.copy != nil && p.copy.state == waiting && log != Input && log != m.dead && p.copy.isEldest() {
			p.copy.state = moving
			some = append(some, p.copy)
		}
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
