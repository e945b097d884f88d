package pipeline

import (
	"math"
	"sync"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// stepIndex is what a lane knows of the steps of messages that are not done:
// where each result stands in the ledger, and the results themselves up to a
// bound of bytes. What is over the bound, and what belongs to a dead message, is
// read from the ledger again when it is asked for.
type stepIndex struct {
	mu    sync.Mutex
	room  int // bytes of results that may still be kept in memory
	steps map[streaming.MessageID]map[string]*step
}

// step is one result. Its fields are guarded by the index's lock.
type step struct {
	id     streaming.MessageID
	name   string
	origin int64
	offset int64 // in the ledger
	size   int
	result []byte        // nil: not in memory
	acked  chan struct{} // closed when it is stored, or has failed and left the index; nil: it was recalled
}

func newStepIndex(room int) *stepIndex {
	return &stepIndex{room: room, steps: make(map[streaming.MessageID]map[string]*step)}
}

// find returns the step of that name, stored or about to be, or nil.
func (x *stepIndex) find(id streaming.MessageID, name string) *step {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.steps[id][name]
}

// read returns where a step stands and its result, if that is in memory.
func (x *stepIndex) read(s *step) (offset int64, result []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return s.offset, s.result
}

// reserve enters a step that is about to be stored, if the results of its
// message stay within a limit; else it tells their size.
func (x *stepIndex) reserve(s *step, limit int) (size int, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	size = s.size
	for _, other := range x.steps[s.id] {
		size += other.size
	}
	if size > limit {
		return size, false
	}
	s.offset, s.acked = math.MaxInt64, make(chan struct{})
	x.add(s)
	return size, true
}

func (x *stepIndex) add(s *step) {
	if x.steps[s.id] == nil {
		x.steps[s.id] = make(map[string]*step)
	}
	x.steps[s.id][s.name] = s
}

// stored tells that a reserved step is acknowledged.
func (x *stepIndex) stored(s *step, offset int64, result []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.offset = offset
	x.keep(s, result)
	close(s.acked)
}

// failed tells that a reserved step is not stored.
func (x *stepIndex) failed(s *step) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.steps[s.id], s.name)
	if len(x.steps[s.id]) == 0 {
		delete(x.steps, s.id)
	}
	close(s.acked)
}

// recall enters a step found in the ledger. A later one of the same name is the
// same result, carried forward.
func (x *stepIndex) recall(m *streaming.Mark, offset int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.steps[m.ID][m.Step]; s != nil {
		s.offset = offset
		return
	}
	s := &step{id: m.ID, name: m.Step, origin: m.Origin, offset: offset, size: len(m.Result)}
	x.keep(s, m.Result)
	x.add(s)
}

// moved tells that a step stands at a later offset too.
func (x *stepIndex) moved(s *step, offset int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.offset = offset
}

// drop forgets the steps of a message that is done.
func (x *stepIndex) drop(id streaming.MessageID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release(id)
	delete(x.steps, id)
}

// shelve keeps the steps of a dead message, without their results in memory.
func (x *stepIndex) shelve(id streaming.MessageID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release(id)
}

// below lists the steps whose records stand below a ledger offset.
func (x *stepIndex) below(offset int64) []*step {
	x.mu.Lock()
	defer x.mu.Unlock()
	var some []*step
	for _, steps := range x.steps {
		for _, s := range steps {
			if s.offset < offset {
				some = append(some, s)
			}
		}
	}
	return some
}

// floor is the lowest ledger offset at which a step stands.
func (x *stepIndex) floor() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	floor := int64(math.MaxInt64)
	for _, steps := range x.steps {
		for _, s := range steps {
			floor = min(floor, s.offset)
		}
	}
	return floor
}

func (x *stepIndex) keep(s *step, result []byte) {
	if len(result) <= x.room {
		x.room -= len(result)
		s.result = append(make([]byte, 0, len(result)), result...)
	}
}

func (x *stepIndex) release(id streaming.MessageID) {
	for _, s := range x.steps[id] {
		x.room += len(s.result)
		s.result = nil
	}
}
