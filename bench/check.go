package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// counted is what an independent reader has found in a topic.
type counted struct {
	records      int // committed ones
	distinct     int // by the number of the input record
	transactions int // that wrote to the partition with the most of them
}

// count reads a topic from its start to its end with read_committed.
func (e *env) count(ctx context.Context, topic string, messages int) (counted, error) {
	var c counted
	// Not the last stable offsets: the end of a transaction is acknowledged before its markers are written.
	ends, err := e.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return c, err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return c, err
	}
	defer cl.Close()
	seen := make([]bool, messages)
	markers := map[int32]int{}
	var problem error
	for len(left) > 0 && problem == nil {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return c, fmt.Errorf("count %s: %w", topic, ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				markers[r.Partition]++
				return
			}
			c.records++
			seq := seqOf(r.Value)
			if seq < 0 || seq >= int64(messages) {
				problem = fmt.Errorf("a record of %s says it is of input record %d", topic, seq)
				return
			}
			if !seen[seq] {
				seen[seq] = true
				c.distinct++
			}
		})
	}
	for _, n := range markers {
		c.transactions = max(c.transactions, n)
	}
	return c, problem
}

// seqOf reads the first field of a framed Reading or Result: an Avro long.
func seqOf(value []byte) int64 {
	if len(value) < 6 {
		return -1
	}
	seq, n := binary.Varint(value[5:])
	if n <= 0 {
		return -1
	}
	return seq
}
