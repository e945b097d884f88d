package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

const (
	tailPause = time.Second      // before Tail asks again for where a topic ends
	tailIdle  = 30 * time.Second // without a record: what is missing is not waited for
)

// Tail reads a topic from its start, each partition in order, and goes on with
// what is appended until ctx ends. caughtUp is called once, when all that stood
// there before the call has been handed over, or when nothing of it has come for
// 30 s, as a partition has no leader. Tail has a client of its own. It gives up where a right is missing or a batch
// unpacks to more than Config.MaxUnpackedBytes; what else the broker refuses is tried again, and where a topic was cut or made anew it
// is read from its start again.
func (l *Log) Tail(ctx context.Context, topic string, each func(streaming.Record), caughtUp func()) error {
	starts, left, err := l.toRead(ctx, topic)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	cl, unpacker, err := l.cfg.newReading(
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the topic may end in a transaction's marker
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	if len(left) == 0 {
		caughtUp()
	}
	last := time.Now() // that something came
	for ctx.Err() == nil {
		behind := len(left) > 0
		pollCtx, cancel := ctx, context.CancelFunc(func() {})
		if behind {
			pollCtx, cancel = context.WithTimeout(ctx, scanIdle)
		}
		fetches := cl.PollFetches(pollCtx)
		idle := pollCtx.Err() != nil
		cancel()
		unpacker.polled(cl)
		for _, e := range fetches.Errors() {
			if e, ok := l.cfg.unpackedTooLarge(e.Err); ok {
				return e
			}
			if isFinal(e.Err) {
				return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
			}
		}
		switch {
		case fetches.NumRecords() > 0:
			last = time.Now()
		case behind && time.Since(last) >= tailIdle:
			left = nil
		case behind && idle:
			l.dropGaps(ctx, starts, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			tp := streaming.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			starts[tp] = r.Offset + 1
			if end, ok := left[tp]; ok && r.Offset >= end-1 {
				delete(left, tp)
			}
			if !r.Attrs.IsControl() {
				each(fromClient(r))
			}
		})
		if behind && len(left) == 0 && ctx.Err() == nil {
			caughtUp()
		}
	}
	return nil
}

// isFinal reports whether the broker's answer will be the same until somebody
// grants a right.
func isFinal(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.SaslAuthenticationFailed)
}

// dropGaps forgets partitions of which nothing is left from where they have been read
// to: compaction may have left nothing at a log's end.
func (l *Log) dropGaps(ctx context.Context, from, left map[streaming.TopicPartition]int64) {
	for tp, end := range left {
		if empty, err := l.gap(ctx, tp, from[tp], end); err == nil && empty {
			delete(left, tp)
		}
	}
}

// toRead returns the starts and the ends of the partitions that hold something.
func (l *Log) toRead(ctx context.Context, topic string) (starts, ends map[streaming.TopicPartition]int64, err error) {
	for {
		starts, err = l.StartOffsets(ctx, topic)
		if err == nil {
			if ends, err = l.EndOffsets(ctx, topic); err == nil {
				for tp, end := range ends {
					if end <= starts[tp] {
						delete(ends, tp)
					}
				}
				return starts, ends, nil
			}
		}
		if isFinal(err) {
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(tailPause):
		}
	}
}
