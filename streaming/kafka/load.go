package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// loadGap is how many records between two that are wanted are read over rather
// than sought over.
const loadGap = 16

// loads gathers what is to be read again: while one read is under way the next
// collects, so that many waiting messages do not cost a client each.
type loads struct {
	mu      sync.Mutex
	waiting []*load
	reading bool
}

type load struct {
	ctx    context.Context
	tp     streaming.TopicPartition
	offset int64
	rec    *streaming.Record
	err    error
	done   chan struct{}
}

// Load reads one record.
func (l *Log) Load(ctx context.Context, topic string, partition int32, offset int64) (streaming.Record, error) {
	w := &load{ctx: ctx, tp: streaming.TopicPartition{Topic: topic, Partition: partition}, offset: offset, done: make(chan struct{})}
	l.loads.mu.Lock()
	l.loads.waiting = append(l.loads.waiting, w)
	first := !l.loads.reading
	l.loads.reading = true
	l.loads.mu.Unlock()
	if first {
		go l.load()
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		return streaming.Record{}, ctx.Err()
	}
	switch {
	case w.rec != nil:
		return *w.rec, nil
	case w.err != nil:
		return streaming.Record{}, w.err
	}
	return streaming.Record{}, fmt.Errorf("%s/%d offset %d: %w", topic, partition, offset, streaming.ErrNoRecord)
}

// load reads until nothing is wanted.
func (l *Log) load() {
	for batch := l.loads.take(); len(batch) > 0; batch = l.loads.take() {
		l.loadBatch(batch)
	}
}

// take returns what one read can bring: of each partition one range.
func (l *loads) take() []*load {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortStableFunc(l.waiting, func(a, b *load) int {
		return cmp.Or(cmp.Compare(a.tp.Topic, b.tp.Topic), cmp.Compare(a.tp.Partition, b.tp.Partition), cmp.Compare(a.offset, b.offset))
	})
	last := make(map[streaming.TopicPartition]int64)
	var batch, later []*load
	for _, w := range l.waiting {
		if at, ok := last[w.tp]; ok && w.offset > at+loadGap {
			later = append(later, w)
			continue
		}
		last[w.tp] = w.offset
		batch = append(batch, w)
	}
	l.waiting = later
	l.reading = len(batch) > 0
	return batch
}

func (l *Log) loadBatch(batch []*load) {
	// The read ends when nobody waits for it any more.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(batch)))
	ranges := make(map[streaming.TopicPartition]Range)
	for _, w := range batch {
		defer context.AfterFunc(w.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})()
		r, ok := ranges[w.tp]
		if !ok {
			r = Range{TopicPartition: w.tp, From: w.offset}
		}
		r.To = w.offset + 1
		ranges[w.tp] = r
	}
	var all []Range
	for _, r := range ranges {
		all = append(all, r)
	}
	type place struct {
		tp     streaming.TopicPartition
		offset int64
	}
	found := make(map[place]*streaming.Record)
	err := l.Scan(ctx, all, func(r streaming.Record) {
		found[place{streaming.TopicPartition{Topic: r.Topic, Partition: r.Partition}, r.Offset}] = &r
	})
	for _, w := range batch {
		w.rec, w.err = found[place{w.tp, w.offset}], err
		close(w.done)
	}
}
