package lane

import "sort"

// offsets tracks the known copies of one log, and so its watermark.
type offsets struct {
	next   int64 // the next offset to be read
	copies []*Copy
	open   int
}

// watermark is the lowest unsettled offset, or what has been read. What was
// appended by this lane but not read back yet does not move it: a record of
// somebody else may lie before it.
func (o *offsets) watermark() int64 {
	if len(o.copies) > 0 && o.copies[0].Offset < o.next {
		return o.copies[0].Offset
	}
	return o.next
}

func (o *offsets) oldest() *Copy {
	if len(o.copies) == 0 {
		return nil
	}
	return o.copies[0]
}

func (o *offsets) add(c *Copy) {
	o.open++
	i := len(o.copies)
	for i > 0 && o.copies[i-1].Offset > c.Offset {
		i--
	}
	o.copies = append(o.copies, nil)
	copy(o.copies[i+1:], o.copies[i:])
	o.copies[i] = c
}

func (o *offsets) search(offset int64) int {
	return sort.Search(len(o.copies), func(i int) bool { return o.copies[i].Offset >= offset })
}

func (o *offsets) find(offset int64) *Copy {
	if i := o.search(offset); i < len(o.copies) && o.copies[i].Offset == offset {
		return o.copies[i]
	}
	return nil
}

// settled tells that one more copy has ended.
func (o *offsets) settled() {
	o.open--
	o.trim()
}

// trim forgets the ended copies at the front. One that ended before the tail
// has read its offset stays, so that it is recognised when it is.
func (o *offsets) trim() {
	n := 0
	for n < len(o.copies) && o.copies[n].state == ended && o.copies[n].Offset < o.next {
		o.copies[n] = nil
		n++
	}
	o.copies = o.copies[n:]
}
