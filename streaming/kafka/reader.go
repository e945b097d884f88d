package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// pollRecords bounds what one poll hands over.
const pollRecords = 5000

// handOverRecords bounds what is handed over in one piece: who keeps one record
// of it keeps it all.
const handOverRecords = 256

// OffsetLostError says that records were deleted, or the topic was made anew,
// before the group had read them. It is never skipped in silence.
type OffsetLostError struct {
	TopicPartition streaming.TopicPartition
	Wanted         int64
	Start, End     int64 // what the log holds
}

func (e *OffsetLostError) Error() string {
	return fmt.Sprintf("%s/%d holds offsets %d to %d, but the group goes on at %d: %s; set the group's offset where it shall go on",
		e.TopicPartition.Topic, e.TopicPartition.Partition, e.Start, e.End, e.Wanted, e.gap())
}

func (e *OffsetLostError) gap() string {
	if e.Wanted < e.Start {
		return fmt.Sprintf("%d records were deleted before they were read", e.Start-e.Wanted)
	}
	return "the topic was truncated or made anew"
}

// reader polls the partitions it was given.
type reader struct {
	client   *kgo.Client
	unpacker *unpacker

	mu     sync.Mutex
	cancel context.CancelFunc // of the poll under way
	turn   chan struct{}      // closed when the poll under way has been handed over
}

// Read polls until ctx ends and hands over what was read, one partition at a
// time and in order. deliver must not block. Before each poll await, unless it is nil, is called: it
// may wait until its context ends, while what is fetched stays buffered. A
// partition with a batch that cannot be unpacked stands still until it is followed
// anew, and standing is told, unless it is nil; the others go on. One that cannot be
// read any more for another reason ends Read with its error.
func (l *Log) Read(ctx context.Context, await func(context.Context), deliver func(tp streaming.TopicPartition, recs []streaming.Record), standing func(*UnpackedTooLargeError)) error {
	r := &l.reader
	for ctx.Err() == nil {
		pollCtx, cancel := context.WithCancel(ctx)
		turn := make(chan struct{})
		r.mu.Lock()
		r.cancel, r.turn = cancel, turn
		r.mu.Unlock()

		if await != nil {
			await(pollCtx)
		}
		fetches := r.client.PollRecords(pollCtx, pollRecords)
		cancel()
		r.unpacker.polled(r.client)
		err := l.handOver(ctx, fetches, deliver, standing)
		close(turn)
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) handOver(ctx context.Context, fetches kgo.Fetches, deliver func(streaming.TopicPartition, []streaming.Record), standing func(*UnpackedTooLargeError)) error {
	var failed error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := streaming.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		for some := range slices.Chunk(p.Records, handOverRecords) {
			recs := make([]streaming.Record, len(some))
			for i, r := range some {
				recs[i] = fromClient(r)
			}
			deliver(tp, recs)
		}
		if e, ok := l.cfg.unpackedTooLarge(p.Err); ok && standing != nil {
			standing(e)
			return
		} else if ok {
			failed = errors.Join(failed, e)
			return
		}
		switch {
		case p.Err == nil, errors.Is(p.Err, errNotYet), errors.Is(p.Err, context.Canceled), kerr.IsRetriable(p.Err), kgo.IsRetryableBrokerErr(p.Err):
		case errors.Is(p.Err, kgo.ErrClientClosed):
		case errors.Is(p.Err, kerr.OffsetOutOfRange):
			failed = errors.Join(failed, l.lost(ctx, tp))
		default:
			failed = errors.Join(failed, fmt.Errorf("read %s/%d: %w", p.Topic, p.Partition, p.Err))
		}
	})
	return failed
}

func (l *Log) lost(ctx context.Context, tp streaming.TopicPartition) error {
	e := &OffsetLostError{TopicPartition: tp, Wanted: -1}
	if start, err := l.StartOffsets(ctx, tp.Topic); err == nil {
		e.Start = start[tp]
	}
	if end, err := l.EndOffsets(ctx, tp.Topic); err == nil {
		e.End = end[tp]
	}
	return e
}

// Follow adds partitions to what Read polls, each from its offset.
func (l *Log) Follow(from map[streaming.TopicPartition]int64) {
	add := make(map[string]map[int32]kgo.Offset)
	for tp, offset := range from {
		if add[tp.Topic] == nil {
			add[tp.Topic] = make(map[int32]kgo.Offset)
		}
		add[tp.Topic][tp.Partition] = kgo.NewOffset().At(offset)
	}
	l.client.AddConsumePartitions(add)
}

// Leave removes partitions. When it returns, nothing that was read of them
// before will be handed over any more. It must not be called from deliver.
func (l *Log) Leave(tps []streaming.TopicPartition) {
	if len(tps) == 0 {
		return
	}
	l.client.RemoveConsumePartitions(byTopic(tps))
	// A poll may have taken records of theirs already: end it and let it be
	// handed over, while their lanes are still the old ones.
	r := &l.reader
	r.mu.Lock()
	cancel, turn := r.cancel, r.turn
	r.mu.Unlock()
	if cancel != nil {
		cancel()
		<-turn
	}
}

// Pause stops fetching of partitions; Resume lets it go on.
func (l *Log) Pause(tps []streaming.TopicPartition) { l.client.PauseFetchPartitions(byTopic(tps)) }

// Resume lets paused partitions go on.
func (l *Log) Resume(tps []streaming.TopicPartition) { l.client.ResumeFetchPartitions(byTopic(tps)) }

func byTopic(tps []streaming.TopicPartition) map[string][]int32 {
	m := make(map[string][]int32)
	for _, tp := range tps {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}
