package pipeline

// slab gives out zero values that were allocated together. None is used again.
// Who keeps one keeps all of its piece: it is for values of which the records of
// one poll are kept together in any case.
type slab[T any] struct{ left []T }

const slabSize = 16

func (s *slab[T]) next() *T {
	if len(s.left) == 0 {
		s.left = make([]T, slabSize)
	}
	v := &s.left[0]
	s.left = s.left[1:]
	return v
}
