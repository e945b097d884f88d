package lane

import "sort"

// offsets tracks the known copies of one log, and so its watermark.
type offsets struct {
	next  int64 // the next offset to be read
	known []place
	open  int
}

// place is where a copy stands. One that has ended leaves its place only: a
// slow message may hold the watermark back while many others come and go.
type place struct {
	offset int64
	copy   *Copy // nil: ended
}

// watermark is the lowest unsettled offset, or what has been read. What was
// appended by this lane but not read back yet does not move it: a record of
// somebody else may lie before it.
func (o *offsets) watermark() int64 {
	if len(o.known) > 0 && o.known[0].offset < o.next {
		return o.known[0].offset
	}
	return o.next
}

func (o *offsets) oldest() *Copy {
	if len(o.known) == 0 {
		return nil
	}
	return o.known[0].copy
}

func (o *offsets) add(c *Copy) {
	o.open++
	i := len(o.known)
	for i > 0 && o.known[i-1].offset > c.Offset {
		i--
	}
	o.known = append(o.known, place{})
	copy(o.known[i+1:], o.known[i:])
	o.known[i] = place{c.Offset, c}
}

func (o *offsets) search(offset int64) int {
	return sort.Search(len(o.known), func(i int) bool { return o.known[i].offset >= offset })
}

// find returns the copy at an offset; of one that has ended only that it was
// known.
func (o *offsets) find(offset int64) (c *Copy, known bool) {
	if i := o.search(offset); i < len(o.known) && o.known[i].offset == offset {
		return o.known[i].copy, true
	}
	return nil, false
}

// settled tells that a copy has ended.
func (o *offsets) settled(c *Copy) {
	o.open--
	i := 0
	if o.known[0].copy != c {
		i = o.search(c.Offset)
	}
	o.known[i].copy = nil
	o.trim()
}

// trim forgets the ended copies at the front. One that ended before the tail
// has read its offset stays, so that it is recognised when it is.
func (o *offsets) trim() {
	n := 0
	for n < len(o.known) && o.known[n].copy == nil && o.known[n].offset < o.next {
		n++
	}
	o.known = o.known[n:]
}
