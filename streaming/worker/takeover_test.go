package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// TestATakeoverOutlivesABrokersRestart: while leaders move, a takeover fails
// with errors that pass. The worker once ended with them.
func TestATakeoverOutlivesABrokersRestart(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := &streamtest.Cluster{Brokers: fake.ListenAddrs(), Schemas: schemas.NewMemoryRegistry()}
	p := connect(t, c)
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		return nil
	})

	// Only a takeover asks for the ledger's offsets.
	var refused atomic.Int32
	fake.ControlKey(kmsg.ListOffsets.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.ListOffsetsRequest)
		if !strings.Contains(req.Topics[0].Topic, ".ledger.") || refused.Load() >= 2 {
			return nil, nil, false
		}
		refused.Add(1)
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewListOffsetsResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewListOffsetsResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.OffsetNotAvailable.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	start(t, p, a)
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(t.Context(), s.ToAgent("taker", &schemas.ErrorReply{})); err != nil {
		t.Fatal(err)
	}
	got.await(t, 1)
	if refused.Load() == 0 {
		t.Error("no takeover was disturbed")
	}
}
