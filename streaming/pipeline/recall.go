package pipeline

import (
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// RecallTier tells of a record found in a tier before the lane is opened.
func (l *Lane) RecallTier(tier int, rec streaming.Record) {
	_, c := decodeHop(rec, lane.Log(tier))
	l.order(c)
	c.Payload = nil // the tail brings it
	l.machine.RecallCopy(c)
}

// RecallMark tells of a mark found at that offset of the ledger before the lane
// is opened. It keeps nothing of m itself.
func (l *Lane) RecallMark(m *streaming.Mark, offset int64) {
	l.doubt.recall(m, offset)
	switch m.Kind {
	case streaming.MarkDone:
		l.steps.drop(m.ID)
		l.cfg.Facts.SettleAt(m.ID, lane.Fact{Done: true, Origin: m.Origin}, m.Time)
	case streaming.MarkDead:
		l.steps.shelve(m.ID)
		l.cfg.Facts.SettleAt(m.ID, lane.Fact{Moves: m.Moves, Origin: m.Origin}, m.Time)
	case streaming.MarkCheckpoint:
		l.deadEnd = max(l.deadEnd, m.Checkpoint.Ends[l.cfg.DeadLetterTopic])
	case streaming.MarkAnswer:
		l.cfg.Facts.Keep(m.ID, offset)
	case streaming.MarkStep:
		if f, _ := l.cfg.Facts.Settled(m.ID); !f.Done {
			l.steps.recall(m, offset)
		}
	}
}

// RecallDead tells of a dead letter found before the lane is opened: it is a
// fact even if its owner crashed before the mark.
func (l *Lane) RecallDead(rec streaming.Record) {
	m, c := decodeHop(rec, lane.Input)
	if m.hop.Moves == 0 {
		return // nothing of ours
	}
	l.steps.shelve(c.ID)
	if f, ok := l.cfg.Facts.Settled(c.ID); !ok || !f.Done && f.Moves < m.hop.Moves {
		l.unmarked = append(l.unmarked, streaming.Mark{
			Kind: streaming.MarkDead, ID: c.ID, Moves: m.hop.Moves, Attempts: m.hop.Attempt, Origin: c.Origin, Time: rec.Timestamp,
		})
	}
	l.cfg.Facts.SettleAt(c.ID, lane.Fact{Moves: m.hop.Moves, Origin: c.Origin}, rec.Timestamp)
	l.deadEnd = max(l.deadEnd, rec.Offset+1)
}

// Open starts the lane; epoch is the offset of its owner's claim. The input topic
// and each tier will be offered from these offsets on.
func (l *Lane) Open(epoch, input int64, tiers []int64) {
	l.epoch = epoch
	l.opened = l.cfg.Clock.Now()
	l.machine.Open(append([]int64{input}, tiers...))
	// A former owner died before it could mark these. The next checkpoint ends
	// behind their dead letters, so their marks go before it.
	for _, mark := range l.unmarked {
		mark.Epoch = epoch
		l.conclude(&conclusion{mark: &mark, settled: func([]int64, int64) {}})
	}
	l.unmarked = nil
	l.openState()
	l.doubt = l.doubt.opened(l.cfg.Parallel)
	l.cfg.Alone.join(l)
	l.cfg.Memory.join(1)
	l.publish()
	go l.loop()
}
