package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// maxTransactionRecords bounds what one transaction writes; a lane's batch is
// never split.
const maxTransactionRecords = 10_000

// transactionRetry is the pause before what an aborted transaction held is
// tried again.
const transactionRetry = 50 * time.Millisecond

// transactions settles exactly once: what the lanes of a worker have staged is
// written in shared transactions, with the offsets of every lane that takes
// part (rule F4).
type transactions struct {
	w *Worker
	t *kafka.Transactor

	mu     sync.Mutex
	staged []*atomicWrite
	wake   chan struct{}
}

// atomicWrite is one lane's batch.
type atomicWrite struct {
	o    *owned
	recs []*streaming.Record
	done func(offsets []int64, refused map[int]error)
}

func transactionalID(group, instance string) string { return "parley-" + group + "-" + instance }

func newTransactions(w *Worker) (*transactions, error) {
	t, err := kafka.NewTransactor(w.cfg.Kafka, transactionalID(w.cfg.Group, w.cfg.Instance))
	if err != nil {
		return nil, err
	}
	return &transactions{w: w, t: t, wake: make(chan struct{}, 1)}, nil
}

func (ts *transactions) stage(a *atomicWrite) {
	ts.mu.Lock()
	ts.staged = append(ts.staged, a)
	ts.mu.Unlock()
	select {
	case ts.wake <- struct{}{}:
	default:
	}
}

// run commits transactions until ctx ends.
func (ts *transactions) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ts.wake:
		}
		for batch := ts.take(); len(batch) > 0; batch = ts.take() {
			if again := ts.commit(ctx, batch); len(again) > 0 {
				ts.mu.Lock()
				ts.staged = append(again, ts.staged...) // in order
				ts.mu.Unlock()
				select {
				case <-ctx.Done():
					return
				case <-time.After(transactionRetry):
				}
			}
		}
	}
}

// take takes what one transaction can hold. What lost lanes have staged is
// dropped.
func (ts *transactions) take() []*atomicWrite {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.staged = slices.DeleteFunc(ts.staged, func(a *atomicWrite) bool { return a.o.released.Load() })
	records, n := 0, 0
	for n < len(ts.staged) && (n == 0 || records+len(ts.staged[n].recs) <= maxTransactionRecords) {
		records += len(ts.staged[n].recs)
		n++
	}
	batch := ts.staged[:n:n]
	ts.staged = slices.Clone(ts.staged[n:])
	return batch
}

// commit writes one transaction and returns what has to be tried again.
func (ts *transactions) commit(ctx context.Context, batch []*atomicWrite) []*atomicWrite {
	w := ts.w
	w.committing.Lock()
	defer w.committing.Unlock()

	// Taken before the lanes are looked at: a member that has lost them and
	// joined again would pass the check with its new generation.
	member := w.member.Membership()
	offsets := make(map[streaming.TopicPartition]int64)
	at := make(map[*owned][]int64)
	var recs []*streaming.Record
	for _, a := range batch {
		if a.o.released.Load() {
			return batch // take drops it
		}
		if at[a.o] == nil {
			at[a.o] = a.o.lane.Positions().Commit
			for i, tp := range a.o.logs() {
				offsets[tp] = at[a.o][i]
			}
		}
		recs = append(recs, a.recs...)
	}
	written, err := ts.t.Do(ctx, member, offsets, recs, func() bool {
		for o := range at {
			if o.released.Load() {
				return false
			}
		}
		return true
	})
	var unknown *kafka.UnknownEndError
	var aborted *kafka.AbortedError
	switch {
	case err == nil:
		for o, positions := range at {
			o.committed = positions
		}
		n := 0
		for _, a := range batch {
			a.done(written[n:n+len(a.recs)], nil)
			n += len(a.recs)
		}
		return nil
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &unknown):
		w.cfg.Logger.Warn("a transaction's end is unknown; its partitions are rebuilt from the logs", "error", err)
		var lanes []*owned
		for o := range at {
			lanes = append(lanes, o)
		}
		go w.lanes.reopen(lanes)
		for _, o := range lanes {
			o.released.Store(true)
		}
		return nil
	case errors.As(err, &aborted) && aborted.Refused != nil:
		return refuse(batch, aborted.Refused)
	default:
		w.cfg.Logger.Debug("transaction aborted; tried again", "error", err)
		return batch
	}
}

// refuse gives the writes back that hold refused records, and returns the rest.
func refuse(batch []*atomicWrite, refused map[int]error) []*atomicWrite {
	var again []*atomicWrite
	n := 0
	for _, a := range batch {
		own := make(map[int]error)
		for i := range a.recs {
			if err := refused[n+i]; err != nil {
				own[i] = err
			}
		}
		n += len(a.recs)
		if len(own) > 0 {
			a.done(nil, own)
		} else {
			again = append(again, a)
		}
	}
	return again
}
