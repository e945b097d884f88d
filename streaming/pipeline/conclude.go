package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// conclusion is what has to be durable before a message counts as settled: its
// records, then its mark. The callbacks run on the lane's goroutine.
type conclusion struct {
	recs     []*streaming.Record
	optional bool            // the last record may be refused
	mark     *streaming.Mark // nil: the records say it all
	settled  func(offsets []int64, ledger int64)
	refused  func(err error) // a record can never be written
	offsets  []int64
}

// conclude makes a conclusion durable. At least once: the records are
// acknowledged first, then the mark. Exactly once: all of it is in one
// transaction.
func (l *Lane) conclude(c *conclusion) {
	if l.cfg.Atomic != nil || len(c.recs) == 0 {
		l.staged = append(l.staged, c)
		return
	}
	c.offsets = make([]int64, len(c.recs))
	waiting := len(c.recs)
	var refused error
	for i, rec := range c.recs {
		l.append(rec, func(offset int64, err error) {
			c.offsets[i] = offset
			switch {
			case err == nil:
			case isRefusal(err) && c.optional && i == len(c.recs)-1:
				l.cfg.Logger.Info("not sent", "topic", rec.Topic, "error", err)
			default:
				refused = fmt.Errorf("append to %s: %w", rec.Topic, err)
			}
			if waiting--; waiting > 0 {
				return
			}
			switch {
			case refused != nil && isRefusal(refused):
				c.refused(refused)
			case refused != nil:
				l.fail(refused)
			case c.mark == nil:
				c.settled(c.offsets, 0)
			default:
				l.staged = append(l.staged, c)
			}
		})
	}
}

// isRefusal reports whether an append failed because of its record.
func isRefusal(err error) bool {
	return errors.Is(err, streaming.ErrRecordTooLarge) || errors.Is(err, streaming.ErrUnknownTopic)
}

// flush writes what is staged, one batch at a time: while one is under way the
// next collects, so that load makes batches and idleness makes none wait. The
// marks of a batch share one ledger record.
func (l *Lane) flush() {
	if l.flushing || len(l.staged) == 0 || l.failure != nil || l.isLost() {
		return
	}
	batch := l.staged
	l.staged = nil
	var marks []streaming.Mark
	for _, c := range batch {
		if c.mark != nil {
			marks = append(marks, *c.mark)
		}
	}
	var entry *streaming.Record
	if len(marks) > 0 {
		value, err := schemas.EncodeMarks(context.WithoutCancel(l.ctx), l.cfg.Codec, marks)
		if err != nil {
			l.fail(err)
			return
		}
		entry = &streaming.Record{Topic: l.cfg.LedgerTopic, Partition: l.cfg.Partition, Value: value}
	}
	l.flushing = true
	if l.cfg.Atomic != nil {
		l.commitBatch(batch, entry)
		return
	}
	l.append(entry, func(offset int64, err error) {
		l.flushing = false
		if err != nil {
			l.fail(err)
			return
		}
		for _, c := range batch {
			c.settled(c.offsets, offset)
		}
	})
}

// commitBatch writes a batch in a transaction that it may share with other
// lanes. If records were refused, nothing was written: their messages fail, and
// the others are staged again in order.
func (l *Lane) commitBatch(batch []*conclusion, entry *streaming.Record) {
	var recs []*streaming.Record
	for _, c := range batch {
		recs = append(recs, c.recs...)
	}
	if entry != nil {
		recs = append(recs, entry)
	}
	l.appends++
	l.cfg.Atomic(recs, func(offsets []int64, refused map[int]error) {
		l.post(func() {
			l.appends--
			l.flushing = false
			if refused != nil {
				l.restage(batch, refused)
				return
			}
			ledger := int64(0)
			if entry != nil {
				ledger = offsets[len(offsets)-1]
			}
			at := 0
			for _, c := range batch {
				c.settled(offsets[at:at+len(c.recs)], ledger)
				at += len(c.recs)
			}
		})
	})
}

func (l *Lane) restage(batch []*conclusion, refused map[int]error) {
	var again []*conclusion
	var failed []func()
	at := 0
	for _, c := range batch {
		var cause error
		last := len(c.recs) - 1
		for i := 0; i <= last; i++ {
			if err := refused[at+i]; err != nil && (i < last || !c.optional) {
				cause = fmt.Errorf("append to %s: %w", c.recs[i].Topic, err)
			}
		}
		if c.optional && refused[at+last] != nil {
			l.cfg.Logger.Info("not sent", "topic", c.recs[last].Topic, "error", refused[at+last])
			c.recs, c.optional = c.recs[:last], false
		}
		at += last + 1
		if cause != nil {
			failed = append(failed, func() { c.refused(cause) })
		} else {
			again = append(again, c)
		}
	}
	l.staged = append(again, l.staged...)
	for _, fail := range failed {
		fail()
	}
}
