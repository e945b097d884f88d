package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// maxTransactionRecords bounds what one transaction writes, about: what one
// message has caused is never split.
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

	staged []*atomicWrite // of an aborted transaction, to be tried again

	mu    sync.Mutex
	lanes []*owned // that have something to be written
	wake  chan struct{}
}

// atomicWrite is one lane's batch.
type atomicWrite struct {
	o *owned
	pipeline.Batch
}

func transactionalID(group, instance string) string { return "parley-" + group + "-" + instance }

func newTransactions(w *Worker) (*transactions, error) {
	t, err := kafka.NewTransactor(w.cfg.Kafka, transactionalID(w.cfg.Group, w.cfg.Instance))
	if err != nil {
		return nil, err
	}
	return &transactions{w: w, t: t, wake: make(chan struct{}, 1)}, nil
}

// ready tells that a lane has something to be written.
func (ts *transactions) ready(o *owned) {
	ts.mu.Lock()
	ts.lanes = append(ts.lanes, o)
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
		for batch := ts.take(ctx); len(batch) > 0; batch = ts.take(ctx) {
			if ts.staged = ts.commit(ctx, batch); len(ts.staged) > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(transactionRetry):
				}
			}
		}
	}
}

// take takes what one transaction holds: what the last one has left to be tried
// again, without what lanes have staged that are lost since; else what all lanes
// have settled up to now.
func (ts *transactions) take(ctx context.Context) []*atomicWrite {
	ts.staged = slices.DeleteFunc(ts.staged, func(a *atomicWrite) bool { return a.o.released.Load() })
	batch := ts.staged
	if len(batch) > 0 {
		return batch
	}
	ts.mu.Lock()
	lanes := ts.lanes
	ts.lanes = nil
	ts.mu.Unlock()
	cuts := make([]pipeline.Cut, len(lanes))
	for i, o := range lanes {
		cuts[i] = o.lane.Cut(maxTransactionRecords / len(lanes))
	}
	for i, c := range cuts {
		if b, ok := c.Wait(ctx); ok {
			batch = append(batch, &atomicWrite{lanes[i], b})
		}
	}
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
	n := 0
	for _, a := range batch {
		n += len(a.Records)
	}
	recs := make([]*streaming.Record, 0, n)
	for _, a := range batch {
		if a.o.released.Load() {
			return batch // take drops it
		}
		if at[a.o] == nil {
			at[a.o] = a.o.lane.Positions().Commit
			// The input's brings the check of the generation, moved or not; the tiers' have mostly not moved.
			for i, tp := range a.o.logs() {
				if i == 0 || i >= len(a.o.committed) || a.o.committed[i] != at[a.o][i] {
					offsets[tp] = at[a.o][i]
				}
			}
		}
		recs = append(recs, a.Records...)
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
			a.Done(written[n:n+len(a.Records)], nil)
			n += len(a.Records)
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
		for i := range a.Records {
			if err := refused[n+i]; err != nil {
				own[i] = err
			}
		}
		n += len(a.Records)
		if len(own) > 0 {
			a.Done(nil, own)
		} else {
			again = append(again, a)
		}
	}
	return again
}
