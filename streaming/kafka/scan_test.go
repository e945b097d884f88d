package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// A range whose records have all been deleted since it was drawn up is read:
// there is nothing behind it that a reader could wait for.
func TestScanOfADeletedRangeEnds(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	plan, err := log.PlanTopics(ctx, []kafka.TopicSpec{{Name: "parley.inbox.a", Partitions: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.ApplyTopics(ctx, plan, -1); err != nil {
		t.Fatal(err)
	}
	var ranges []kafka.Range
	for p := range int32(2) {
		tp := streaming.TopicPartition{Topic: "parley.inbox.a", Partition: p}
		for range 5 {
			if _, err := log.AppendSync(ctx, &streaming.Record{Topic: tp.Topic, Partition: p, Value: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: 0, To: 5})
	}
	if err := log.Trim(ctx, map[streaming.TopicPartition]int64{ranges[0].TopicPartition: 5, ranges[1].TopicPartition: 3}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := log.Scan(ctx, ranges, func(streaming.Record) { n++ }); err != nil || n != 2 {
		t.Errorf("%d records, %v; want 2", n, err)
	}
}
