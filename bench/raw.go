package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// rawClient is a client of rawOptions.
func rawClient(e *env, job copyJob, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(rawOptions(e, job), opts...)...)
}

// rawOptions are to consume and produce with the settings that Parley has, where
// the client's defaults differ.
func rawOptions(e *env, job copyJob) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(e.brokers...),
		kgo.ConsumerGroup(job.group),
		kgo.ConsumeTopics(job.in),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(1 << 20),
	}
}

// rawCopy polls a batch, produces it, flushes and commits. It writes key, value
// and headers as they came; with avro it decodes the value and encodes the
// result, through the same codec as Parley.
func rawCopy(avro bool) func(context.Context, *env, copyJob) (time.Duration, error) {
	return func(ctx context.Context, e *env, job copyJob) (time.Duration, error) {
		cl, err := rawClient(e, job)
		if err != nil {
			return 0, err
		}
		defer cl.Close()
		handle := handlingOf(ctx, e, avro)
		var start time.Time
		for n := 0; n < job.messages; {
			recs, err := poll(ctx, cl, job.batch)
			if err != nil {
				return 0, err
			}
			if start.IsZero() {
				start = time.Now()
			}
			if err := produce(ctx, cl, job.out, recs, handle); err != nil {
				return 0, err
			}
			if err := cl.CommitRecords(ctx, recs...); err != nil {
				return 0, err
			}
			n += len(recs)
		}
		return time.Since(start), nil
	}
}

// rawTransactions does the same in one transaction for each batch, its offsets
// committed first: the fastest way to do it by hand, and the order that Parley
// has.
func rawTransactions(avro bool) func(context.Context, *env, copyJob) (time.Duration, error) {
	return func(ctx context.Context, e *env, job copyJob) (time.Duration, error) {
		id := "raw-" + job.group
		cl, err := rawClient(e, job, kgo.TransactionalID(id), kgo.ConcurrentTransactionsBackoff(time.Millisecond))
		if err != nil {
			return 0, err
		}
		defer cl.Close()
		details, err := e.admin.ListTopics(ctx, job.in)
		if err != nil {
			return 0, err
		}
		handle := handlingOf(ctx, e, avro)
		var start time.Time
		for n := 0; n < job.messages; {
			recs, err := poll(ctx, cl, job.batch)
			if err != nil {
				return 0, err
			}
			if start.IsZero() {
				start = time.Now()
			}
			if err := cl.BeginTransaction(); err != nil {
				return 0, err
			}
			if err := commitFirst(ctx, cl, job, id, details[job.in].ID, recs); err != nil {
				return 0, err
			}
			if err := produce(ctx, cl, job.out, recs, handle); err != nil {
				return 0, err
			}
			if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
				return 0, err
			}
			n += len(recs)
		}
		return time.Since(start), nil
	}
}

// rawSession does the same with the client's own GroupTransactSession, which
// commits the offsets at the end of a transaction.
func rawSession(ctx context.Context, e *env, job copyJob) (time.Duration, error) {
	session, err := kgo.NewGroupTransactSession(append(rawOptions(e, job),
		kgo.TransactionalID("session-"+job.group), kgo.ConcurrentTransactionsBackoff(time.Millisecond))...)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	var start time.Time
	for n := 0; n < job.messages; {
		recs, err := poll(ctx, session, job.batch)
		if err != nil {
			return 0, err
		}
		if start.IsZero() {
			start = time.Now()
		}
		if err := session.Begin(); err != nil {
			return 0, err
		}
		if err := produce(ctx, session.Client(), job.out, recs, passOn); err != nil {
			return 0, err
		}
		switch committed, err := session.End(ctx, kgo.TryCommit); {
		case err != nil:
			return 0, err
		case committed:
			n += len(recs)
		}
	}
	return time.Since(start), nil
}

// poller is a client or a session.
type poller interface {
	PollRecords(ctx context.Context, n int) kgo.Fetches
}

func poll(ctx context.Context, cl poller, batch int) ([]*kgo.Record, error) {
	for {
		fetches := cl.PollRecords(ctx, batch)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		if recs := fetches.Records(); len(recs) > 0 {
			return recs, nil
		}
	}
}

type handling func(value []byte) ([]byte, error)

func handlingOf(ctx context.Context, e *env, avro bool) handling {
	if avro {
		return transcode(ctx, e.platform.Codec())
	}
	return passOn
}

func passOn(value []byte) ([]byte, error) { return value, nil }

func transcode(ctx context.Context, codec *schemas.Codec) handling {
	return func(value []byte) ([]byte, error) {
		var in Reading
		if err := codec.Decode(ctx, value, &in, ""); err != nil {
			return nil, err
		}
		return codec.Encode(ctx, result(&in))
	}
}

// produce writes what becomes of records and waits until all is acknowledged.
func produce(ctx context.Context, cl *kgo.Client, topic string, recs []*kgo.Record, handle handling) error {
	var once sync.Once
	var failed error
	for _, r := range recs {
		value, err := handle(r.Value)
		if err != nil {
			return err
		}
		cl.Produce(ctx, &kgo.Record{Topic: topic, Key: r.Key, Value: value, Headers: r.Headers}, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// commitFirst commits the offsets after a batch in the transaction under way.
func commitFirst(ctx context.Context, cl *kgo.Client, job copyJob, id string, topicID kadm.TopicID, recs []*kgo.Record) error {
	producer, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = id, job.group
	req.ProducerID, req.ProducerEpoch = producer, epoch
	req.MemberID, req.Generation = cl.GroupMetadata()
	next := map[int32]int64{}
	for _, r := range recs {
		next[r.Partition] = max(next[r.Partition], r.Offset+1)
	}
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = job.in, topicID
	for p, at := range next {
		partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset = p, at
		topic.Partitions = append(topic.Partitions, partition)
	}
	req.Topics = append(req.Topics, topic)
	for {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		worst := error(nil)
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					worst = err
				}
			}
		}
		switch {
		case worst == nil:
			return nil
		case !errors.Is(worst, kerr.ConcurrentTransactions):
			return fmt.Errorf("commit offsets: %w", worst)
		}
		time.Sleep(time.Millisecond) // the end of the transaction before is still being written
	}
}
