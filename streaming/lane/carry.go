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
		if p.copy != nil && p.copy.state == waiting && log != Input && log != m.dead {
			p.copy.state = moving
			some = append(some, p.copy)
		}
	}
	return some
}
