package pipeline

import (
	"context"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Batch is what a lane settles exactly once: its records are to be written all
// or nothing, in one transaction with the lane's offsets. Done is called once,
// from any goroutine, with the records' offsets, or, if nothing was written, with
// those that can never be. A lane's batches are written in the order in which
// they were cut.
type Batch struct {
	Records []*streaming.Record
	Done    func(offsets []int64, refused map[int]error)
}

// Cut is a batch that a lane was asked for.
type Cut struct {
	l     *Lane
	batch chan Batch
}

// Cut asks the lane for what it has settled and not given away yet, up to about
// that many records: what collects while a transaction is under way is in the
// next, whatever becomes of the one before.
func (l *Lane) Cut(limit int) Cut {
	c := Cut{l, make(chan Batch, 1)}
	l.post(func() { c.batch <- l.cutBatch(limit) })
	return c
}

// Wait returns the batch, or false if there is none: nothing is settled, the lane
// has ended, or ctx has.
func (c Cut) Wait(ctx context.Context) (Batch, bool) {
	select {
	case b := <-c.batch:
		return b, b.Done != nil
	case <-c.l.done:
	case <-ctx.Done():
	}
	return Batch{}, false
}

func (l *Lane) cutBatch(limit int) Batch {
	l.flushing = false
	if len(l.staged) == 0 || l.failure != nil || l.isLost() {
		return Batch{}
	}
	n, size := 0, 0
	for fits := l.fitting(l.staged); n < fits && (n == 0 || size+len(l.staged[n].recs) <= limit); n++ {
		size += len(l.staged[n].recs)
	}
	batch := l.staged[:n:n]
	l.staged = append([]*conclusion(nil), l.staged[n:]...)
	entry, err := l.ledgerRecord(batch)
	if err != nil {
		l.fail(err)
		return Batch{}
	}
	recs := make([]*streaming.Record, 0, size+1)
	for _, c := range batch {
		recs = append(recs, c.recs...)
	}
	if entry != nil {
		recs = append(recs, entry)
	}
	l.appends++
	return Batch{Records: recs, Done: func(offsets []int64, refused map[int]error) {
		l.post(func() {
			l.appends--
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
				l.conclusive(c, offsets[at:at+len(c.recs)], ledger)
				at += len(c.recs)
			}
		})
	}}
}
