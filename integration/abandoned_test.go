//go:build integration

package integration

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// TestAnAbandonedTransactionIsEnded has a worker take a partition over whose
// owner has left a transaction open: its first, which has no committed offset
// before it. The broker would end it after a minute.
func TestAnAbandonedTransactionIsEnded(t *testing.T) {
	broker := cluster.SharedKafka(t)
	registry, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registry.Close(context.Background()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := connectTo(ctx, broker.Bootstrap(), registry.RegistryURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	name := cluster.Name(t)
	handled := make(chan struct{}, 100)
	a := agents.New(name, agents.Config{ExactlyOnce: true})
	agents.On(a, func(context.Context, *agents.Message[schemas.ErrorReply]) error {
		handled <- struct{}{}
		return nil
	})

	log, err := kafka.NewLog(kafka.Config{Brokers: []string{broker.Bootstrap()}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	plan, err := log.PlanTopics(ctx, p.Topics(a))
	if err == nil {
		err = log.ApplyTopics(ctx, plan, -1)
	}
	if err != nil {
		t.Fatal(err)
	}
	inbox := streaming.DefaultNamespace.Inbox(name)
	gone, err := kgo.NewClient(kgo.SeedBrokers(broker.Bootstrap()), kgo.TransactionalID("parley-"+name+"-gone"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if err := gone.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	topics, err := kadm.NewClient(gone).ListTopics(ctx, inbox)
	if err != nil {
		t.Fatal(err)
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.Group = "parley-"+name+"-gone", name
	if commit.ProducerID, commit.ProducerEpoch, err = gone.ProducerID(ctx); err != nil {
		t.Fatal(err)
	}
	ct := kmsg.NewTxnOffsetCommitRequestTopic()
	ct.Topic, ct.TopicID = inbox, topics[inbox].ID
	ct.Partitions = append(ct.Partitions, kmsg.NewTxnOffsetCommitRequestTopicPartition())
	commit.Topics = append(commit.Topics, ct)
	if resp, err := commit.RequestWith(ctx, gone); err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatal(resp, err)
	}
	if err := gone.ProduceSync(ctx, &kgo.Record{Topic: streaming.LedgerTopic(inbox, name)}).FirstErr(); err != nil {
		t.Fatal(err)
	}

	begin := time.Now()
	w, err := p.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-w.Ready():
	case <-ctx.Done():
		t.Fatal("the worker is not ready within a minute")
	}
	took := time.Since(begin)
	t.Logf("taken over after %s", took.Truncate(time.Millisecond))
	if took > 20*time.Second {
		t.Error("the worker waited for the transaction's timeout")
	}
	if err := gone.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("the former owner could commit after all")
	}
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(ctx, s.ToAgent(name, &schemas.ErrorReply{})); err != nil {
		t.Fatal(err)
	}
	select {
	case <-handled:
	case <-ctx.Done():
		t.Fatal("nothing is handled")
	}
}
