package kafka_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// A topic is absent when it is not listed two seconds after what names it was sent, so
// at once where that is past. One that exists is not waited for.
func TestAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{}
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "there"), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.Dialer(network.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		log, err := kafka.NewLog(kafka.Config{Brokers: fake.ListenAddrs(), Dialer: network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		check := func(topic string, age time.Duration, want bool, after time.Duration) {
			t.Helper()
			told := make(chan bool)
			begin := time.Now()
			if !log.Absent(&streaming.Record{Topic: topic, Caused: begin.Add(-age)}, func(absent bool) { told <- absent }) {
				t.Fatalf("%s: known already", topic)
			}
			if absent := <-told; absent != want {
				t.Errorf("%s: absent %v, want %v", topic, absent, want)
			}
			if d := time.Since(begin); d != after {
				t.Errorf("%s, %s after its cause: told after %s, want %s", topic, age, d, after)
			}
		}
		check("there", 0, false, 0)
		check("nobody", time.Hour, true, 0)
		check("nobody", 1500*time.Millisecond, true, 500*time.Millisecond)
		check("nobody", 0, true, 2*time.Second)
		check("nobody", -time.Hour, true, 2*time.Second) // another machine's clock
		time.AfterFunc(time.Second, func() {
			if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, "nobody"); err != nil {
				t.Error(err)
			}
		})
		check("nobody", 0, false, 2*time.Second)
		for _, topic := range []string{"there", "nobody"} {
			if log.Absent(&streaming.Record{Topic: topic}, func(bool) { t.Error("told") }) {
				t.Errorf("%s is asked again", topic)
			}
		}
	})
}
