package lane

// Exactly once a message is as good as done when its outputs and its mark wait for
// their transaction: what the next of its key comes to is written in the same one or in
// a later one, or neither is. So the next may start (H1 of that mode), and a key is not
// bound to one message a transaction.

// Staged tells that what c has come to will be in the next transaction: it is done, as
// soon as Done says so, unless Unstaged does. The next of its key may start; another copy
// of its message may not.
func (m *Machine) Staged(c *Copy) {
	q := c.queue
	q.busy--
	c.state = staged
	m.leave(c)
	if len(q.copies) > 0 {
		m.wake(q)
	}
}

// Unstaged tells that a staged copy is not done after all: it is as if it had just
// ended its run, and Moved, Dead or GiveBack say what becomes of it. Those of its key
// that have been started since are overtaken. Those that are staged themselves are to be
// unstaged, too.
func (m *Machine) Unstaged(c *Copy) {
	if c.state != staged {
		return
	}
	q := m.place(c)
	c.state = busy
	q.busy++
	for _, other := range q.copies {
		if other != c && other.state == busy {
			other.overtaken = true
		}
	}
}

// Overtaken reports whether an older one of its key, which was staged when c was
// started, is not done after all: then c has to be given back instead of done.
func (c *Copy) Overtaken() bool { return c.overtaken }
