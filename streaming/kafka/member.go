package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// GroupConfig is a worker's place in its consumer group.
type GroupConfig struct {
	Group            string
	Topics           []string // the input topics
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	Heartbeat        time.Duration

	// The callbacks run one at a time. Assigned must not block. Revoked may
	// take its time, within the rebalance timeout, and may commit. Lost may
	// not commit: somebody else may own the partitions already.
	Assigned func([]streaming.TopicPartition)
	Revoked  func([]streaming.TopicPartition)
	Lost     func([]streaming.TopicPartition)
}

// Member is a member of a consumer group that fetches nothing.
type Member struct {
	client *kgo.Client
	group  string
	logger *slog.Logger
}

// Join enters the group.
func Join(c Config, g GroupConfig) (*Member, error) {
	logger := c.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	opts := append(c.options(),
		kgo.ConsumerGroup(g.Group),
		kgo.ConsumeTopics(g.Topics...),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { call(g.Assigned, m) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { call(g.Revoked, m) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { call(g.Lost, m) }),
	)
	if g.SessionTimeout > 0 {
		opts = append(opts, kgo.SessionTimeout(g.SessionTimeout))
	}
	if g.RebalanceTimeout > 0 {
		opts = append(opts, kgo.RebalanceTimeout(g.RebalanceTimeout))
	}
	if g.Heartbeat > 0 {
		opts = append(opts, kgo.HeartbeatInterval(g.Heartbeat))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	cl.PauseFetchTopics(g.Topics...)
	return &Member{client: cl, group: g.Group, logger: logger}, nil
}

func call(fn func([]streaming.TopicPartition), m map[string][]int32) {
	var tps []streaming.TopicPartition
	for topic, partitions := range m {
		for _, p := range partitions {
			tps = append(tps, streaming.TopicPartition{Topic: topic, Partition: p})
		}
	}
	if len(tps) > 0 {
		fn(tps)
	}
}

// ErrFenced says that the group has gone on without this member: what it
// commits is refused until it has joined again.
var ErrFenced = errors.New("the member is not in the group's current generation")

// Commit commits offsets under the member's generation, and waits.
func (m *Member) Commit(ctx context.Context, offsets map[streaming.TopicPartition]int64) error {
	if len(offsets) == 0 {
		return nil
	}
	commit := make(map[string]map[int32]kgo.EpochOffset)
	for tp, at := range offsets {
		if commit[tp.Topic] == nil {
			commit[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		commit[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	var failed error
	m.client.CommitOffsetsSync(ctx, commit, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = fmt.Errorf("commit %s/%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	})
	switch {
	case failed == nil:
		return nil
	case fenced(failed):
		return fmt.Errorf("%w: %w", ErrFenced, failed)
	}
	return failed
}

func fenced(err error) bool {
	return errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.UnknownMemberID) ||
		errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.StaleMemberEpoch) || errors.Is(err, kerr.FencedMemberEpoch)
}

// Membership is the member as the group knows it now.
func (m *Member) Membership() Membership {
	id, generation := m.client.GroupMetadata()
	return Membership{Group: m.group, MemberID: id, Generation: generation}
}

// Leave leaves the group, with Revoked called for what is still owned.
func (m *Member) Leave() { m.client.Close() }
