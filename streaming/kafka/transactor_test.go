package kafka_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Offsets that a transaction has sent before it failed are not committed by the
// next one: the client, which knows nothing of them, takes it for empty and ends
// nothing.
func TestAnAbortedTransactionLeavesNoOffsets(t *testing.T) {
	c := fake(t)
	m, told := join(t, c, kafka.ProtocolClassic)
	told.next(t, "assigned [0 1]")
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	tr, err := kafka.NewTransactor(cfg, "tx")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { tr.Close() }()
	rec := []*streaming.Record{{Topic: "t", Partition: 1, Value: []byte("v")}}
	always := func() bool { return true }

	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: "t", Partitions: []int32{1}})
	both := map[streaming.TopicPartition]int64{{Topic: "t", Partition: 0}: 7, {Topic: "t", Partition: 1}: 7}
	var aborted *kafka.AbortedError
	if _, err := tr.Do(t.Context(), m.Membership(), both, rec, always); !errors.As(err, &aborted) {
		t.Fatalf("a transaction one of whose offsets is refused ends with %v", err)
	}
	if _, err := tr.Do(t.Context(), m.Membership(), zero(1), rec, always); err != nil {
		t.Fatal(err)
	}
	log, err := kafka.NewLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	committed, err := log.Committed(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := committed[streaming.TopicPartition{Topic: "t", Partition: 0}]; ok {
		t.Errorf("offset %d of the aborted transaction is committed", at)
	}
}

// Readers of what is committed wait for nothing once a transaction is aborted.
func TestAnAbortedTransactionHoldsNoReaderUp(t *testing.T) {
	c := fake(t)
	m, told := join(t, c, kafka.ProtocolClassic)
	told.next(t, "assigned [0 1]")
	tr, err := kafka.NewTransactor(kafka.Config{Brokers: c.ListenAddrs()}, "tx")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { tr.Close() }()
	rec := []*streaming.Record{{Topic: "t", Partition: 1, Value: []byte("v")}}
	var aborted *kafka.AbortedError
	if _, err := tr.Do(t.Context(), m.Membership(), zero(1), rec, func() bool { return false }); !errors.As(err, &aborted) {
		t.Fatalf("a transaction that is not valid any more ends with %v", err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	stable, err := kadm.NewClient(cl).ListCommittedOffsets(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := stable.Lookup("t", 1); o.Offset != 2 { // the record and the end marker
		t.Errorf("readers get as far as %d, the log ends at 2", o.Offset)
	}
}
