package kafka_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// fetching is a fake broker on whose fetches a test has a say.
func fetching(t *testing.T, say func(req *kmsg.FetchRequest) (empty bool)) *kafka.Log {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	log, err := kafka.NewLog(kafka.Config{Brokers: fake.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	for range 5 {
		if _, err := log.AppendSync(t.Context(), &streaming.Record{Topic: "t", Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if !say(req) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, topic := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark, rp.LastStableOffset = p.Partition, 5, 5
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	return log
}

var lastTwo = []kafka.Range{{TopicPartition: streaming.TopicPartition{Topic: "t"}, From: 3, To: 5}}

// Compaction may have left nothing at the end of a range, and no later record says
// so: it has been read.
func TestScanOfARangeThatEndsInNothingEnds(t *testing.T) {
	t.Parallel()
	log := fetching(t, func(*kmsg.FetchRequest) bool { return true })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n := 0
	if err := log.Scan(ctx, lastTwo, func(streaming.Record) { n++ }); err != nil || n != 0 {
		t.Errorf("%d records, %v; want none", n, err)
	}
}

// A client that does not hand out what the broker has is given up for another.
func TestScanDoesNotTrustOneClient(t *testing.T) {
	t.Parallel()
	var clients atomic.Int64
	log := fetching(t, func(req *kmsg.FetchRequest) bool {
		if req.SessionEpoch == 0 {
			clients.Add(1)
		}
		return req.MaxWaitMillis > 0 && clients.Load() < 2
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n := 0
	if err := log.Scan(ctx, lastTwo, func(streaming.Record) { n++ }); err != nil || n != 2 {
		t.Errorf("%d records of %d clients, %v; want 2", n, clients.Load(), err)
	}
}

// Nor does a follower wait for what compaction has removed.
func TestTailOfATopicThatEndsInNothingCatchesUp(t *testing.T) {
	t.Parallel()
	log := fetching(t, func(*kmsg.FetchRequest) bool { return true })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	caughtUp := false
	if err := log.Tail(ctx, "t", func(streaming.Record) { t.Error("a record") }, func() { caughtUp = true; cancel() }); err != nil || !caughtUp {
		t.Errorf("caught up: %t, %v", caughtUp, err)
	}
}
