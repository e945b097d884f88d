package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

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
	return stable(ctx, group, func(out map[streaming.TopicPartition]int64) error {
		offsets, err := l.admin.FetchOffsets(kadm.RequireStable(ctx), group)
		if err == nil {
			err = offsets.Error()
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			out[streaming.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.At
		})
		return err
	})
}

// CommittedOf is Committed for some partitions. It does not wait for the
// transactions of other members, which are under way all the time; and it sees
// one that commits the first offset of a partition, which a broker that is
// asked for all offsets does not count among them yet.
func (l *Log) CommittedOf(ctx context.Context, group string, partitions []streaming.TopicPartition) (map[streaming.TopicPartition]int64, error) {
	return stable(ctx, group, func(out map[streaming.TopicPartition]int64) error {
		ids, err := l.topics.of(ctx, l.client, slices.Values(partitions))
		if err != nil {
			return err
		}
		req := kmsg.NewPtrOffsetFetchRequest()
		req.RequireStable = true
		asked := kmsg.NewOffsetFetchRequestGroup()
		asked.Group = group
		names := make(map[[16]byte]string)
		for topic, id := range ids {
			names[id] = topic
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.TopicID = topic, id
			for _, tp := range partitions {
				if tp.Topic == topic {
					t.Partitions = append(t.Partitions, tp.Partition)
				}
			}
			asked.Topics = append(asked.Topics, t)
		}
		req.Groups = append(req.Groups, asked)
		resp, err := req.RequestWith(ctx, l.client)
		if err != nil {
			return err
		}
		for _, g := range resp.Groups {
			if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
				return err
			}
			for _, t := range g.Topics {
				if t.Topic == "" {
					t.Topic = names[t.TopicID]
				}
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						if errors.Is(err, kerr.UnknownTopicID) {
							l.topics.forget()
						}
						return err
					}
					out[streaming.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.Offset
				}
			}
		}
		return nil
	})
}

// stable fetches offsets again until none is about to change. One below zero is
// none.
func stable(ctx context.Context, group string, fetch func(map[streaming.TopicPartition]int64) error) (map[streaming.TopicPartition]int64, error) {
	for start := time.Now(); ; {
		out := make(map[streaming.TopicPartition]int64)
		err := fetch(out)
		// The first group of a new cluster has no coordinator until the broker has made the topic of offsets.
		making := errors.Is(err, kerr.CoordinatorNotAvailable) && time.Since(start) < newClusterWait
		switch {
		case err == nil:
			maps.DeleteFunc(out, func(_ streaming.TopicPartition, at int64) bool { return at < 0 })
			return out, nil
		case errors.Is(err, kerr.GroupIDNotFound):
			return nil, nil
		case !errors.Is(err, kerr.UnstableOffsetCommit) && !making:
			return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
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
