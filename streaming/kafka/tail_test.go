package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// tailing tails topic t of a fake cluster that holds some records already.
type tailing struct {
	fake   *kfake.Cluster
	client *kgo.Client
	log    *kafka.Log
	heard  told
}

func newTailing(t *testing.T, records int, opts ...kfake.Opt) *tailing {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	x := &tailing{fake: fake, heard: make(told, 100)}
	if x.client, err = kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.DefaultProduceTopic("t")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.client.Close)
	for i := range records {
		x.write(t, i)
	}
	if x.log, err = kafka.NewLog(kafka.Config{Brokers: fake.ListenAddrs()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.log.Close)
	return x
}

func (x *tailing) write(t *testing.T, i int) {
	t.Helper()
	if err := x.client.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (x *tailing) tail(ctx context.Context) error {
	return x.log.Tail(ctx, "t", func(rec streaming.Record) { x.heard <- string(rec.Value) }, func() { x.heard <- "caught up" })
}

func TestTail(t *testing.T) {
	for _, before := range []int{0, 3} {
		x := newTailing(t, before)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- x.tail(ctx) }()
		for i := range before {
			x.heard.next(t, fmt.Sprint(i))
		}
		x.heard.next(t, "caught up")
		x.write(t, before)
		x.heard.next(t, fmt.Sprint(before))
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestTailGoesOnThroughRefusals(t *testing.T) {
	x := newTailing(t, 1)
	for _, f := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownServerError},
		{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.UnknownServerError, Count: 3},
		{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 3},
	} {
		x.fake.Fault(f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.tail(ctx) }()
	x.heard.next(t, "0")
	x.heard.next(t, "caught up")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTailSaysWhichRightIsMissing(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.ListOffsets, kmsg.Fetch} {
		x := newTailing(t, 1)
		x.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := x.tail(ctx); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("%s: tailing ends with %v", key.Name(), err)
		}
		cancel()
	}
}

// What cannot be had is not waited for without an end.
func TestTailWaitsForSomeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{}
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.DefaultProduceTopic("t"), kgo.Dialer(network.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("0")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		client.Close()
		log, err := kafka.NewLog(kafka.Config{Brokers: fake.ListenAddrs(), Dialer: network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
		ctx, cancel := context.WithCancel(t.Context())
		ended, begin := make(chan error, 1), time.Now()
		go func() {
			ended <- log.Tail(ctx, "t", func(streaming.Record) { t.Error("a record came") }, func() {
				if took := time.Since(begin); took < 30*time.Second || took > time.Minute {
					t.Errorf("gave up waiting after %s", took)
				}
				cancel()
			})
		}()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		log.Close()
		fake.Close()
	})
}
