package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// wholeLog returns what each partition of topics holds, in order.
func wholeLog(ctx context.Context, log *kafka.Log, topics []string) ([]kafka.Range, error) {
	starts, err := log.StartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := log.EndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ranges := make([]kafka.Range, 0, len(ends))
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: starts[tp], To: end})
	}
	slices.SortFunc(ranges, func(a, b kafka.Range) int {
		return cmp.Or(cmp.Compare(a.TopicPartition.Topic, b.TopicPartition.Topic), cmp.Compare(a.TopicPartition.Partition, b.TopicPartition.Partition))
	})
	return ranges, nil
}

// countRecords returns the offsets in use by topic.
func countRecords(ctx context.Context, log *kafka.Log, topics []string) (map[string]int64, error) {
	ranges, err := wholeLog(ctx, log, topics)
	if err != nil {
		return nil, err
	}
	records := make(map[string]int64, len(topics))
	for _, r := range ranges {
		records[r.TopicPartition.Topic] += r.To - r.From
	}
	return records, nil
}

// byTime orders records of several partitions as they were written, as far as
// their timestamps tell.
func byTime(a, b streaming.Record) int {
	return cmp.Or(
		a.Timestamp.Compare(b.Timestamp),
		cmp.Compare(a.Topic, b.Topic),
		cmp.Compare(a.Partition, b.Partition),
		cmp.Compare(a.Offset, b.Offset),
	)
}
