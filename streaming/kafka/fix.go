package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// ErrGroupAtWork says that a group has members, and only they may commit.
var ErrGroupAtWork = errors.New("the group has members")

// CommitFor commits offsets for a group that has no members, all of them or none. With
// members the error is ErrGroupAtWork.
func (l *Log) CommitFor(ctx context.Context, group string, offsets map[streaming.TopicPartition]int64) error {
	var os kadm.Offsets
	for tp, at := range offsets {
		os.AddOffset(tp.Topic, tp.Partition, at, -1)
	}
	responses, err := l.admin.CommitOffsets(ctx, group, os)
	if err == nil {
		err = responses.Error()
	}
	if fenced(err) {
		return fmt.Errorf("%w: %w", ErrGroupAtWork, err)
	}
	if err != nil {
		return fmt.Errorf("commit offsets for group %s: %w", group, err)
	}
	return nil
}
