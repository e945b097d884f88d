package lane

// A lane that holds keys keeps a dead letter as a live copy of its key, in a log
// whose copies never run. So it stands in its key's queue like any other and
// blocks it: what is younger queues behind it (A2, in the hold log) or stays where
// it is (A3). A redriven copy has more moves and the same origin: it goes first,
// and when it is done the dead letter has ended. No rule of order is new.

// NewHolding returns a closed machine with that many retry tiers, a hold log
// after them and the dead-letter log last.
func NewHolding(tiers int, facts Facts) *Machine {
	m := New(tiers+2, facts)
	m.hold, m.dead = Log(tiers+1), Log(tiers+2)
	return m
}

// DeadHeld is Dead of a lane that holds keys: letter is the dead letter.
func (m *Machine) DeadHeld(c, letter *Copy) {
	m.facts.Settle(c.ID, Fact{Moves: letter.Moves, Origin: c.Origin})
	m.Moved(c, letter)
}

// Release tells that the dead letter at that offset is let go: it holds its key
// no longer, and neither do older ones of its message, as a crash or a takeover
// may have left. It returns its copy, or nil if it holds none.
func (m *Machine) Release(offset int64) *Copy {
	if m.dead == Input {
		return nil
	}
	c, _ := m.logs[m.dead].find(offset)
	if c == nil {
		return nil
	}
	var older []*Copy
	for t := c.twin; t != nil && t != c; t = t.twin {
		if t.Log == m.dead && t.Moves <= c.Moves {
			older = append(older, t)
		}
	}
	for _, t := range older {
		m.end(t)
	}
	m.end(c)
	return c
}

// ends reports whether a fact has ended a copy. That a message is dead does not
// end its latest dead letter.
func (m *Machine) ends(f Fact, c *Copy) bool {
	if c.Log == m.dead && m.dead != Input {
		return f.Done || c.Moves < f.Moves
	}
	return f.Done || c.Moves <= f.Moves
}
