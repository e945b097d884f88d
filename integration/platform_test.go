//go:build integration

package integration

import (
	"context"
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
)

func connectTo(ctx context.Context, brokers, registry string, logger *slog.Logger) (*agents.Platform, error) {
	return agents.Connect(ctx, agents.PlatformConfig{Brokers: []string{brokers}, Registry: registry, Register: true, Partitions: 6, Logger: logger})
}

// readUntil reads a topic from its start, read_committed, until it has so many
// different values and has come to the end that the topic had at the call.
func readUntil(t testing.TB, ctx context.Context, brokers, topic string, different int) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var all []*kgo.Record
	values := map[string]bool{}
	for len(left) > 0 || len(values) < different {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: %d of %d different values within the time", topic, len(values), different)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
				values[string(r.Value)] = true
			}
		})
	}
	return all
}
