package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Range is a part of a partition.
type Range = streaming.Range

// Scan reads ranges once, each in order, and returns when all have been read.
// What was deleted meanwhile is left out.
func (l *Log) Scan(ctx context.Context, ranges []Range, each func(streaming.Record)) error {
	left := make(map[streaming.TopicPartition]int64)
	from := make(map[string]map[int32]kgo.Offset)
	for _, r := range ranges {
		if r.From >= r.To {
			continue
		}
		left[r.TopicPartition] = r.To
		if from[r.TopicPartition.Topic] == nil {
			from[r.TopicPartition.Topic] = make(map[int32]kgo.Offset)
		}
		from[r.TopicPartition.Topic][r.TopicPartition.Partition] = kgo.NewOffset().At(r.From)
	}
	if len(left) == 0 {
		return nil
	}
	cl, unpacker, err := l.cfg.newReading(
		kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a range may end in a transaction's marker
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(left) > 0 {
		poll, cancel := context.WithTimeout(ctx, scanIdle)
		fetches := cl.PollFetches(poll)
		idle := poll.Err() != nil && fetches.NumRecords() == 0
		cancel()
		unpacker.polled(cl)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if idle {
			if err := l.dropDeleted(ctx, left); err != nil {
				return err
			}
			continue
		}
		for _, e := range fetches.Errors() {
			if e, ok := l.cfg.unpackedTooLarge(e.Err); ok {
				return e
			}
			if !errors.Is(e.Err, errNotYet) && !kerr.IsRetriable(e.Err) && !kgo.IsRetryableBrokerErr(e.Err) && !errors.Is(e.Err, kerr.OffsetOutOfRange) &&
				!errors.Is(e.Err, context.DeadlineExceeded) {
				return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			tp := streaming.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			to, ok := left[tp]
			if ok && r.Offset < to && !r.Attrs.IsControl() {
				each(fromClient(r))
			}
			if ok && r.Offset >= to-1 {
				delete(left, tp)
				cl.RemoveConsumePartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
		})
	}
	return nil
}

// scanIdle is how long nothing may come before Scan looks whether anything can.
const scanIdle = 2 * time.Second

// dropDeleted forgets ranges of which nothing is left: where they end a log, no
// later record tells.
func (l *Log) dropDeleted(ctx context.Context, left map[streaming.TopicPartition]int64) error {
	topics := make(map[string]bool)
	for tp := range left {
		topics[tp.Topic] = true
	}
	starts, err := l.StartOffsets(ctx, slices.Collect(maps.Keys(topics))...)
	if err != nil {
		return err
	}
	for tp, to := range left {
		if starts[tp] >= to {
			delete(left, tp)
		}
	}
	return nil
}
