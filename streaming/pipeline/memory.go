package pipeline

import (
	"math"
	"sync/atomic"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Memory shares a worker's bound on bytes in flight out to its lanes, in equal
// parts. A lane's part has two halves: one for records of its input that are not
// settled, one for the values of copies that wait in its retry topics. So no lane
// waits for another, and the input not for what waits: who is full gets room by
// settling what it has itself. A record larger than its half goes through alone.
// A nil Memory has no bound.
type Memory struct {
	limit int64
	lanes atomic.Int64 // that are open
}

// NewMemory returns a bound of that many bytes of keys, values and headers.
func NewMemory(limit int) *Memory { return &Memory{limit: int64(limit)} }

// half is one of the halves of each lane's part.
func (m *Memory) half() int {
	if m == nil {
		return math.MaxInt
	}
	return int(m.limit / max(1, m.lanes.Load()) / 2)
}

func (m *Memory) join(lanes int64) {
	if m != nil {
		m.lanes.Add(lanes)
	}
}

// weight is about what records that were offered take until they are read.
func weight(recs []streaming.Record) (n int) {
	for i := range recs {
		n += len(recs[i].Key) + len(recs[i].Value)
	}
	return n
}

// weigh keeps the gauge in step with what is in memory.
func (l *Lane) weigh() (input int) {
	input, held := l.machine.Bytes()
	if n := input + held; n != l.weighed {
		l.cfg.Observer.InFlightBytes(n - l.weighed)
		l.weighed = n
	}
	return input
}
