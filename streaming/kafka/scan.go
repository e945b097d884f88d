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
// What was deleted meanwhile is left out, and so is what compaction has left nothing of.
func (l *Log) Scan(ctx context.Context, ranges []Range, each func(streaming.Record)) error {
	s := &scan{l: l, left: make(map[streaming.TopicPartition]Range), each: each}
	for _, r := range ranges {
		if r.From < r.To {
			s.left[r.TopicPartition] = r
		}
	}
	for len(s.left) > 0 {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// scan is one Scan.
type scan struct {
	l    *Log
	left map[streaming.TopicPartition]Range // what is still to be read
	each func(streaming.Record)
}

// read reads with one client, until all is read or the client has nothing more to
// give.
func (s *scan) read(ctx context.Context) error {
	l := s.l
	from := make(map[string]map[int32]kgo.Offset)
	for tp, r := range s.left {
		if from[tp.Topic] == nil {
			from[tp.Topic] = make(map[int32]kgo.Offset)
		}
		from[tp.Topic][tp.Partition] = kgo.NewOffset().At(r.From)
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
	for given := true; len(s.left) > 0; {
		poll, cancel := context.WithTimeout(ctx, scanIdle)
		fetches := cl.PollFetches(poll)
		idle := poll.Err() != nil && fetches.NumRecords() == 0
		cancel()
		unpacker.polled(cl)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if idle {
			waiting, err := s.dropMissing(ctx)
			if err != nil {
				return err
			}
			if waiting && !given {
				return nil // twice records wait at the broker that this client does not give
			}
			given = !waiting
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
			rest, ok := s.left[tp]
			if ok && r.Offset < rest.To && !r.Attrs.IsControl() {
				s.each(fromClient(r))
			}
			if rest.From = r.Offset + 1; ok {
				s.left[tp] = rest
			}
			if ok && rest.From >= rest.To {
				delete(s.left, tp)
				cl.RemoveConsumePartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
		})
	}
	return nil
}

// scanIdle is how long nothing may come before Scan looks whether anything can.
const scanIdle = 2 * time.Second

// dropMissing forgets ranges of which nothing is left: where they end a log, no
// later record tells. waiting: another has records.
func (s *scan) dropMissing(ctx context.Context) (waiting bool, err error) {
	topics := make(map[string]bool)
	for tp := range s.left {
		topics[tp.Topic] = true
	}
	starts, err := s.l.StartOffsets(ctx, slices.Collect(maps.Keys(topics))...)
	if err != nil {
		return false, err
	}
	for tp, r := range s.left {
		if starts[tp] >= r.To {
			delete(s.left, tp)
			continue
		}
		empty, err := s.l.gap(ctx, tp, max(r.From, starts[tp]), r.To)
		switch {
		case err == nil && empty:
			delete(s.left, tp)
		case err == nil:
			waiting = true
		case !kerr.IsRetriable(err) && !kgo.IsRetryableBrokerErr(err) && !errors.Is(err, kerr.OffsetOutOfRange):
			return false, fmt.Errorf("read %s/%d: %w", tp.Topic, tp.Partition, err)
		}
	}
	return waiting, nil
}
