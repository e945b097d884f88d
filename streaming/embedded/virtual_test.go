package embedded

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A server in memory on a virtual network runs in a synctest bubble, where an
// hour costs nothing.
func TestVirtualNetworkAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		s, err := Start(t.Context(), Config{Listen: "localhost:9092", RegistryListen: "localhost:8081", ListenFunc: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()...), kgo.Dialer(network.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.broker.cluster.CreateTopic("a", 1, map[string]string{"retention.ms": "60000"}); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a"}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		web := &http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}}
		resp, err := web.Get(s.RegistryURL() + "/subjects")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		time.Sleep(time.Hour)
		if info := s.broker.cluster.PartitionInfo("a", 0); info.LogStartOffset != 1 {
			t.Errorf("retention left the record after an hour: log start %d", info.LogStartOffset)
		}
		cl.Close()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Nobody is let in before the state is restored.
func TestGatedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		ln, err := listen(network.Listen, "test", "localhost:1")
		if err != nil {
			t.Fatal(err)
		}
		accepted := 0
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				accepted++
				_ = conn.Close()
			}
		}()
		go func() {
			if conn, err := network.DialContext(t.Context(), "tcp", "localhost:1"); err == nil {
				_ = conn.Close()
			}
		}()
		synctest.Wait()
		if accepted != 0 {
			t.Error("a client was let in through the closed gate")
		}
		ln.open()
		synctest.Wait()
		if accepted != 1 {
			t.Error("no client was let in through the open gate")
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	})
}

// deleteAll deletes all records of partition 0 and returns the error code.
func deleteAll(t *testing.T, cl *kgo.Client, topic string) int16 {
	t.Helper()
	req := kmsg.NewDeleteRecordsRequest()
	req.TimeoutMillis = 1000
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].Partitions[0].ErrorCode
}
