package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// conclusion is what has to be durable before a message counts as settled: its
// records, then its mark. What follows runs on the lane's goroutine.
type conclusion struct {
	recs    []*streaming.Record
	leading int        // the first records: acknowledged before the others are sent
	asked   int        // of which it is known whether their topics exist, as far as that matters
	copy    *lane.Copy // of a message that was handled, or that others of its key have to wait with; nil: it is of none
	runner  *lane.Copy // the message whose step it is, while its handler runs
	done    *attempt   // a message that is done; else the following say what it is

	mark    *streaming.Mark // nil: the records say it all
	settled func(offsets []int64, ledger int64)
	refused func(err error) // a record can never be written

	offsets []int64
	sent    int   // records
	waiting int   // of those sent, not yet acknowledged
	failure error // of a record
	first   appended
	one     [1]int64
}

// appended is one record of a conclusion on its way.
type appended struct {
	l *Lane
	c *conclusion
	i int
}

// conclude makes a conclusion durable. At least once: the records are
// acknowledged first, then the mark. State comes before all else: after a crash
// another message, one that has fallen due since, must not find the state of before
// when outputs say otherwise. Exactly once: all of it is in one
// transaction.
//
// An answer without an inbox is left out first: to find that out by sending it takes the
// client half a second, and a transaction, which is all lanes'.
func (l *Lane) conclude(c *conclusion) {
	if l.askAbsent(c) {
		return
	}
	switch {
	case l.cfg.Atomic != nil:
		l.stage(c)
		return
	case len(c.recs) == 0:
		l.staged = append(l.staged, c)
		return
	}
	c.offsets = c.one[:]
	if len(c.recs) > 1 {
		c.offsets = make([]int64, len(c.recs))
	}
	if c.leading > 0 {
		c.send(l, 0, c.leading)
	} else {
		c.send(l, 0, len(c.recs))
	}
}

// stage leaves a conclusion to the next transaction. The next of a key need not wait for
// that, but for a barrier, which stands for all before it, in doubt, where there is one
// at a time, and where a message of the key was refused and none is done since: if all
// are refused, each would have all after it handled again.
func (l *Lane) stage(c *conclusion) {
	switch {
	case c.copy != nil && c.copy.Overtaken():
		l.undo(c)
		return
	case c.runner != nil && c.runner.Overtaken():
		c.refused(errOvertaken)
		return
	}
	l.staged = append(l.staged, c)
	if a := c.done; a != nil && !a.c.Barrier && l.doubt == nil && !l.refusing[a.c.Key] {
		l.kept.stage(a.state)
		l.machine.Staged(a.c)
	}
}

// errOvertaken ends a step of a run that does not count.
var errOvertaken = errors.New("an older message of the key is not done after all")

// maxRefusing bounds the keys that are remembered for having had a message refused.
const maxRefusing = 1000

// undo gives a message back whose run does not count, as an older one of its key that was
// staged before it is not done after all.
func (l *Lane) undo(c *conclusion) {
	if c.done != nil {
		l.kept.settle(c.done.state, false)
		l.machine.Unstaged(c.copy)
	}
	l.machine.GiveBack(c.copy)
}

// askAbsent asks whether the topics of records exist that are left out where they do not,
// one after the other, and concludes when that is known.
func (l *Lane) askAbsent(c *conclusion) (asked bool) {
	for ; l.cfg.Absent != nil && c.asked < len(c.recs); c.asked++ {
		rec := c.recs[c.asked]
		if !rec.IfTopicExists || l.isLost() {
			continue
		}
		if l.cfg.Absent(rec, func(absent bool) { l.post(func() { l.heardOf(c, absent) }) }) {
			l.appends++
			return true
		}
	}
	return false
}

// heardOf goes on with a conclusion, without the record that was asked about if its topic
// is absent.
func (l *Lane) heardOf(c *conclusion, absent bool) {
	l.appends--
	if l.failure != nil {
		return
	}
	if rec := c.recs[c.asked]; absent && l.leftOut(rec, streaming.ErrUnknownTopic) {
		c.recs = slices.Concat(c.recs[:c.asked], c.recs[c.asked+1:]) // not in place: they are the attempt's outputs
	} else {
		c.asked++
	}
	l.conclude(c)
}

func (c *conclusion) send(l *Lane, from, to int) {
	c.sent, c.waiting = to, to-from
	for i := from; i < to; i++ {
		a := &c.first
		if i > 0 {
			a = new(appended)
		}
		*a = appended{l, c, i}
		l.append(c.recs[i], a)
	}
}

// acked stages the mark once all records of a conclusion are acknowledged.
func (a *appended) acked(offset int64, err error) {
	l, c := a.l, a.c
	c.offsets[a.i] = offset
	switch {
	case err == nil:
	case l.leftOut(c.recs[a.i], err):
		c.offsets[a.i] = unsent
	default:
		c.failure = c.failed(a.i, err)
	}
	if c.waiting--; c.waiting > 0 {
		return
	}
	switch {
	case c.failure != nil && isRefusal(c.failure):
		l.refuse(c, c.failure)
	case c.failure != nil:
		l.fail(c.failure)
	case c.sent < len(c.recs):
		c.send(l, c.sent, len(c.recs))
	case c.done == nil && c.mark == nil:
		l.conclusive(c, c.offsets, 0)
	default:
		l.staged = append(l.staged, c)
	}
}

// conclusive tells that a conclusion is durable: its records at these offsets,
// its mark at that of the ledger.
func (l *Lane) conclusive(c *conclusion, offsets []int64, ledger int64) {
	if c.done != nil {
		l.finish(c.done, ledger)
		return
	}
	c.settled(offsets, ledger)
}

// refuse tells that a record of a conclusion can never be written.
func (l *Lane) refuse(c *conclusion, err error) {
	if c.done != nil {
		l.outputRefused(c.done, err)
		return
	}
	c.refused(err)
}

// failed is why the i-th record of a conclusion was not written. Where data has
// named a topic that does not exist, no other attempt finds it.
func (c *conclusion) failed(i int, err error) error {
	topic := c.recs[i].Topic
	if c.recs[i].Routed && errors.Is(err, streaming.ErrUnknownTopic) {
		return streaming.DeadLetter(streaming.ReasonNoRoute, fmt.Errorf("it is routed to %s, which does not exist: %w", topic, err))
	}
	return fmt.Errorf("append to %s: %w", topic, err)
}

// isRefusal reports whether an append failed because of its record.
func isRefusal(err error) bool {
	return errors.Is(err, streaming.ErrRecordTooLarge) || errors.Is(err, streaming.ErrUnknownTopic)
}

// unsent is the offset of a record that was left out.
const unsent = -1

// isUnsent reports whether the i-th record was left out. Exactly once it is gone from
// the records.
func (c *conclusion) isUnsent(i int) bool { return i < len(c.offsets) && c.offsets[i] == unsent }

// leftOut reports whether what belongs to a refused record goes on without it, and
// tells so.
func (l *Lane) leftOut(rec *streaming.Record, err error) bool {
	switch {
	case isRefusal(err) && rec.Optional:
	case errors.Is(err, streaming.ErrUnknownTopic) && rec.IfTopicExists:
		l.cfg.Observer.AnswerDropped()
	default:
		return false
	}
	l.cfg.Logger.Info("not sent", "agent", l.cfg.Agent, "topic", rec.Topic, "error", err)
	return true
}

// flush writes what is staged, one batch at a time: while one is under way the
// next collects, so that load makes batches and idleness makes none wait. The
// marks of a batch share one ledger record. Exactly once the next transaction
// takes it.
func (l *Lane) flush() {
	if l.flushing || len(l.staged) == 0 || l.failure != nil || l.isLost() {
		return
	}
	if l.cfg.Atomic != nil {
		l.flushing = true
		l.cfg.Atomic()
		return
	}
	batch := l.staged
	l.staged, l.flushed = l.flushed[:0], batch
	if n := l.fitting(batch); n < len(batch) {
		l.staged = append(l.staged, batch[n:]...)
		batch = batch[:n]
	}
	entry, err := l.ledgerRecord(batch)
	if err != nil {
		l.fail(err)
		return
	}
	l.flushing = true
	l.append(entry, ackedFunc(func(offset int64, err error) {
		l.flushing = false
		if err != nil {
			l.fail(err)
			return
		}
		for _, c := range batch {
			l.conclusive(c, c.offsets, offset)
		}
		clear(batch)
	}))
}

// ledgerRecord holds the marks of a batch; nil if it has none.
func (l *Lane) ledgerRecord(batch []*conclusion) (*streaming.Record, error) {
	l.marks = l.marks[:0]
	for _, c := range batch {
		switch {
		case c.done != nil:
			l.marks = append(l.marks, l.doneMark(c.done))
			if len(c.done.answer) > 0 {
				l.marks = append(l.marks, streaming.Mark{Kind: streaming.MarkAnswer, ID: c.done.c.ID, Answer: c.done.answer})
			}
		case c.mark != nil:
			l.marks = append(l.marks, *c.mark)
		}
	}
	if len(l.marks) == 0 {
		return nil, nil
	}
	defer func() { clear(l.marks) }()
	value, err := schemas.EncodeMarks(context.WithoutCancel(l.ctx), l.cfg.Codec, l.marks)
	if err != nil {
		return nil, err
	}
	return &streaming.Record{Topic: l.cfg.LedgerTopic, Partition: l.cfg.Partition, Value: value}, nil
}

// restage takes a batch back of which nothing was written, as some of its records
// never can be: their messages fail, and the others are staged again in order. What is
// staged of a key after a message that fails was handled on the word that it is done,
// and is handled again.
func (l *Lane) restage(batch []*conclusion, refused map[int]error) {
	var again []*conclusion
	var failed []func()
	keys := make(map[string]bool) // of what fails
	undone := func(c *conclusion) bool {
		if c.runner != nil && keys[c.runner.Key] {
			c.refused(errOvertaken)
			return true
		}
		if c.copy == nil || !keys[c.copy.Key] {
			return false
		}
		l.undo(c)
		return true
	}
	at := 0
	for _, c := range batch {
		own := at
		at += len(c.recs)
		if undone(c) {
			continue
		}
		if cause := l.without(c, own, refused); cause == nil {
			again = append(again, c)
		} else {
			failed = append(failed, func() {
				if c.done != nil {
					l.machine.Unstaged(c.copy)
				}
				l.refuse(c, cause)
			})
			if c.done != nil {
				keys[c.copy.Key] = true
			}
		}
	}
	if l.refusing == nil || len(l.refusing) > maxRefusing {
		l.refusing = make(map[string]bool)
	}
	maps.Copy(l.refusing, keys)
	l.staged = append(again, slices.DeleteFunc(l.staged, undone)...)
	for _, fail := range failed {
		fail()
	}
}

// without takes those refused records out of a conclusion that it can do without, the
// first of all being the at-th of the batch. It returns why it cannot do without another.
func (l *Lane) without(c *conclusion, at int, refused map[int]error) (cause error) {
	kept := make([]*streaming.Record, 0, len(c.recs))
	for i, rec := range c.recs {
		switch err := refused[at+i]; {
		case err == nil:
			kept = append(kept, rec)
		case l.leftOut(rec, err):
		default:
			cause = c.failed(i, err)
		}
	}
	c.recs = kept
	return cause
}
