package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestLoadReadsManyRecordsAgain(t *testing.T) {
	c := streamtest.NewCluster(t)
	log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	if err := log.ApplyTopics(t.Context(), &kafka.TopicPlan{Create: []kafka.NewTopic{{Name: "a", Partitions: 2}}}, -1); err != nil {
		t.Fatal(err)
	}
	const n = 300
	var recs []*streaming.Record
	for i := range n {
		for p := range int32(2) {
			recs = append(recs, &streaming.Record{Topic: "a", Partition: p, Value: fmt.Appendf(nil, "%d/%d", p, i)})
		}
	}
	if _, err := log.AppendSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var all sync.WaitGroup
	for i := range n {
		for p := range int32(2) {
			if i%50 > 20 { // with gaps
				continue
			}
			all.Go(func() {
				ctx, wantErr := t.Context(), error(nil)
				if i%7 == 0 {
					ctx, wantErr = gone, context.Canceled
				}
				rec, err := log.Load(ctx, "a", p, int64(i))
				if wantErr == nil && string(rec.Value) != fmt.Sprintf("%d/%d", p, i) || err != nil && !errors.Is(err, wantErr) {
					t.Errorf("%d/%d: %q, %v", p, i, rec.Value, err)
				}
			})
		}
	}
	all.Wait()
	if err := log.Trim(t.Context(), map[streaming.TopicPartition]int64{{Topic: "a", Partition: 1}: 10}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Load(t.Context(), "a", 1, 5); !errors.Is(err, streaming.ErrNoRecord) {
		t.Errorf("a record that was deleted: %v", err)
	}
}
