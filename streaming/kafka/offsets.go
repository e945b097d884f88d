package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// StartOffsets returns the first offset of each partition of topics.
func (l *Log) StartOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error) {
	return listed(ctx, func() (kadm.ListedOffsets, error) { return l.admin.ListStartOffsets(ctx, topics...) })
}

// EndOffsets returns the last stable offset of each partition of topics: what a
// read_committed reader can reach.
func (l *Log) EndOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error) {
	return listed(ctx, func() (kadm.ListedOffsets, error) { return l.admin.ListCommittedOffsets(ctx, topics...) })
}

// newTopicWait is how long a topic that was just created may be unknown to a
// broker or to the client's cached metadata.
const newTopicWait = 5 * time.Second

func listed(ctx context.Context, list func() (kadm.ListedOffsets, error)) (map[streaming.TopicPartition]int64, error) {
	var offsets kadm.ListedOffsets
	var err error
	for start := time.Now(); ; {
		if offsets, err = list(); err == nil {
			err = offsets.Error()
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || time.Since(start) > newTopicWait {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	out := make(map[streaming.TopicPartition]int64)
	offsets.Each(func(o kadm.ListedOffset) {
		out[streaming.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.Offset
	})
	return out, nil
}

// HighWatermarks returns the end of each partition of topics, what stands in
// open transactions included: a read_committed reader reaches it once these
// have ended.
func (l *Log) HighWatermarks(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error) {
	return listed(ctx, func() (kadm.ListedOffsets, error) { return l.admin.ListEndOffsets(ctx, topics...) })
}

// newClusterWait is how long a cluster may take to have its first coordinator.
const newClusterWait = 30 * time.Second

// Committed returns the offsets that a group has committed, once no open
// transaction is about to change them. A partition without one is absent.
func (l *Log) Committed(ctx context.Context, group string) (map[streaming.TopicPartition]int64, error) {
	var offsets kadm.OffsetResponses
	var err error
	for start := time.Now(); ; {
		offsets, err = l.admin.FetchOffsets(kadm.RequireStable(ctx), group)
		if err == nil {
			err = offsets.Error()
		}
		// The first group of a new cluster has no coordinator until the broker has made the topic of offsets.
		making := errors.Is(err, kerr.CoordinatorNotAvailable) && time.Since(start) < newClusterWait
		if !errors.Is(err, kerr.UnstableOffsetCommit) && !making {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
	}
	out := make(map[streaming.TopicPartition]int64)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.At >= 0 {
			out[streaming.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.At
		}
	})
	return out, nil
}

// Trim deletes the records below the offsets.
func (l *Log) Trim(ctx context.Context, below map[streaming.TopicPartition]int64) error {
	var os kadm.Offsets
	for tp, at := range below {
		os.AddOffset(tp.Topic, tp.Partition, at, -1)
	}
	if len(os) == 0 {
		return nil
	}
	responses, err := l.admin.DeleteRecords(ctx, os)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		return fmt.Errorf("delete settled records: %w", err)
	}
	return nil
}
