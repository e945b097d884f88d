package kafka

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// gap reports whether a partition holds no record from one offset up to another, by
// asking its leader. A consumer cannot tell that from a record that is late: after
// compaction nothing may stand at a log's end, neither record nor marker.
func (l *Log) gap(ctx context.Context, tp streaming.TopicPartition, from, to int64) (bool, error) {
	details, err := l.admin.ListTopics(ctx, tp.Topic)
	if err != nil {
		return false, err
	}
	topic := details[tp.Topic]
	partition, ok := topic.Partitions[tp.Partition]
	if !ok {
		return false, fmt.Errorf("%s/%d: %w", tp.Topic, tp.Partition, kerr.UnknownTopicOrPartition)
	}
	for from < to {
		asked := kmsg.NewFetchRequestTopicPartition()
		asked.Partition, asked.FetchOffset, asked.PartitionMaxBytes = tp.Partition, from, 1<<20
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = tp.Topic, topic.ID
		t.Partitions = append(t.Partitions, asked)
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 1<<20, 1, -1
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, l.client.Broker(int(partition.Leader)))
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return false, err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return false, nil
		}
		got := &resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return false, err
		}
		next, records := pastEmpty(got.RecordBatches, from)
		switch {
		case records:
			return false, nil
		case next == from: // the leader has nothing up to the last stable offset
			return got.LastStableOffset >= to, nil
		}
		from = next
	}
	return true, nil
}

// Where fields of a record batch stand, version 2.
const (
	batchLength          = 8
	batchAttributes      = 21
	batchLastOffsetDelta = 23
	batchRecords         = 57
	batchHeader          = 61
	batchControl         = 1 << 5
)

// pastEmpty passes over batches that have no records for a consumer and returns
// the offset after them. records: one has.
func pastEmpty(b []byte, from int64) (next int64, records bool) {
	for len(b) >= batchHeader {
		last := int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[batchLastOffsetDelta:])) //nolint:gosec // a broker's offsets
		control := binary.BigEndian.Uint16(b[batchAttributes:])&batchControl != 0
		n := binary.BigEndian.Uint32(b[batchRecords:])
		if last >= from {
			if n > 0 && !control {
				return from, true
			}
			from = last + 1
		}
		length := 12 + int(binary.BigEndian.Uint32(b[batchLength:]))
		if length < batchHeader || length > len(b) {
			break
		}
		b = b[length:]
	}
	return from, false
}
