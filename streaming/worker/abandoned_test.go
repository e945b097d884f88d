package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// A worker that takes over from one that was frozen in the middle of a
// transaction does not wait until that has timed out.
func TestAnAbandonedTransactionIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{T: t, cfg: agents.Config{Retry: quick, ExactlyOnce: true, GroupProtocol: kafka.ProtocolClassic}}
		b.open()
		if err := b.fake.CreateTopic("other", 1, nil); err != nil {
			t.Fatal(err)
		}
		log, err := kafka.NewLog(kafka.Config{Brokers: b.cluster.Brokers, Dialer: b.cluster.Dialer})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		plan, err := log.PlanTopics(t.Context(), b.platform.Topics(agents.New("taker", b.cfg)))
		if err == nil {
			err = log.ApplyTopics(t.Context(), plan, -1)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.leaveOpen("parley-taker-frozen", "parley.inbox.taker.ledger.taker")
		stranger := b.leaveOpen("parley-taker-stranger", "other")
		b.send("next", 0, 0)
		b.worker("a", false)
		time.Sleep(10 * time.Second)
		if out := b.outputs(); len(out["next"]) != 1 {
			t.Errorf("outputs after 10 s: %v", out)
		}
		if err := stranger.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Errorf("a transaction that is none of this worker's partitions': %v", err)
		}
	})
}

// leaveOpen leaves a transaction open that has written to partition 0 of a
// topic, the offset of the inbox's partition 0 among it where that is its
// ledger.
func (b *bubble) leaveOpen(id, topic string) *kgo.Client {
	cl := b.cluster.Client(b, kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(time.Minute))
	if err := cl.BeginTransaction(); err != nil {
		b.Fatal(err)
	}
	if topic != "other" {
		producer, epoch, err := cl.ProducerID(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		commit := kmsg.NewPtrTxnOffsetCommitRequest()
		commit.TransactionalID, commit.Group, commit.ProducerID, commit.ProducerEpoch = id, "taker", producer, epoch
		ct, cp := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
		ct.Topic, ct.TopicID = "parley.inbox.taker", b.fake.TopicInfo("parley.inbox.taker").TopicID
		ct.Partitions = append(ct.Partitions, cp)
		commit.Topics = append(commit.Topics, ct)
		resp, err := commit.RequestWith(b.Context(), cl)
		if err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			b.Fatal(resp, err)
		}
	}
	if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: topic}).FirstErr(); err != nil {
		b.Fatal(err)
	}
	return cl
}
