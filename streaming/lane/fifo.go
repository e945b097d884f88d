package lane

// fifo is a queue whose room is used again: what goes through the machine goes
// through several of them.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(v T) {
	if f.head > 64 && f.head > len(f.items)/2 {
		left := copy(f.items, f.items[f.head:])
		clear(f.items[left:])
		f.items, f.head = f.items[:left], 0
	}
	f.items = append(f.items, v)
}

func (f *fifo[T]) pop() T {
	var none T
	v := f.items[f.head]
	f.items[f.head] = none
	if f.head++; f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return v
}

// all is what has not been popped.
func (f *fifo[T]) all() []T { return f.items[f.head:] }
