package kafka_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// A message leaves at once where few are on their way, as somebody may wait for it.
// A mark waits for others.
func TestASingleMessageDoesNotLinger(t *testing.T) {
	const message, mark = "parley.inbox.a", "parley.inbox.a.ledger.a"
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{}
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, message, mark), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		log, err := kafka.NewLog(kafka.Config{Brokers: fake.ListenAddrs(), Dialer: network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		took := func(topic string) time.Duration {
			begin, acknowledged := time.Now(), make(chan error)
			log.Append(&streaming.Record{Topic: topic, Value: []byte("x")}, func(_ int64, err error) { acknowledged <- err })
			if err := <-acknowledged; err != nil {
				t.Fatal(err)
			}
			return time.Since(begin)
		}
		took(message) // connects, and learns of the topics
		took(mark)
		if d := took(message); d > 0 {
			t.Errorf("a message takes %s", d)
		}
		if d := took(mark); d == 0 {
			t.Error("a mark does not wait for others")
		}
	})
}
