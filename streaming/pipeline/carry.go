package pipeline

import "github.com/seed-c9b6dc07/parley/streaming"

// carriedBytes bounds what is carried forward in one go; what is left is next.
const carriedBytes = 8 << 20

// StepFloor is the lowest ledger offset at which the result of a step stands
// that is still needed: of a message that is not done. The ledger may be trimmed
// below it.
func (l *Lane) StepFloor() int64 { return l.steps.floor() }

// CarrySteps appends the needed results that stand below a ledger offset again,
// so that the ledger may be trimmed there: StepFloor rises as they are
// acknowledged.
//
// None is carried once its message's mark is acknowledged. So a checkpoint that
// was written after that mark, and that alone lets the mark be trimmed, stands
// above both: no result outlives its message's mark in the ledger.
func (l *Lane) CarrySteps(below int64) {
	l.post(func() {
		if l.carrying || l.closing {
			return
		}
		l.carrying = true
		go func() {
			l.carry(l.steps.below(below))
			l.post(func() { l.carrying = false })
		}()
	})
}

func (l *Lane) carry(some []*step) {
	size := 0
	for _, s := range some {
		if size += s.size; size > carriedBytes {
			return
		}
		result, err := l.stepResult(l.ctx, s)
		var rec *streaming.Record
		if err == nil {
			rec, err = l.stepRecord(l.ctx, s, result)
		}
		if err != nil {
			if l.ctx.Err() == nil {
				l.cfg.Logger.Warn("a step cannot be carried forward; the ledger is not trimmed past it", "topic", l.cfg.LedgerTopic,
					"partition", l.cfg.Partition, "step", s.name, "error", err)
			}
			continue
		}
		l.post(func() {
			if l.failure != nil || l.steps.find(s.id, s.name) != s {
				return // done meanwhile
			}
			l.conclude(&conclusion{
				recs:    []*streaming.Record{rec},
				settled: func(offsets []int64, _ int64) { l.steps.moved(s, offsets[0]) },
				refused: func(err error) {
					l.cfg.Logger.Warn("a step cannot be carried forward; the ledger is not trimmed past it", "topic", l.cfg.LedgerTopic,
						"partition", l.cfg.Partition, "step", s.name, "error", err)
				},
			})
		})
	}
}
