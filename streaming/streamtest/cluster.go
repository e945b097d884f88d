// Package streamtest is the kit for tests: a fake cluster that speaks the Kafka
// protocol, schemas in memory, and the real worker on top of both.
package streamtest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Cluster is a fake Kafka cluster with schemas beside it.
type Cluster struct {
	Brokers []string
	Schemas *schemas.MemoryRegistry
	// Dialer opens connections to the brokers; nil: TCP.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewCluster starts a cluster that ends with the test.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatalf("start the fake cluster: %v", err)
	}
	t.Cleanup(fake.Close)
	return &Cluster{Brokers: fake.ListenAddrs(), Schemas: schemas.NewMemoryRegistry()}
}

// Client returns a plain Kafka client, as a neighbour without our code has it.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	own := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}
	if c.Dialer != nil {
		own = append(own, kgo.Dialer(c.Dialer))
	}
	cl, err := kgo.NewClient(append(own, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// ReadAll returns what stands in topics now, with a client of its own. Records
// of one partition are in order.
func (c *Cluster) ReadAll(t testing.TB, topics ...string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	adm := kadm.NewClient(c.Client(t))
	ends, err := adm.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatalf("list offsets: %v", err)
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		t.Fatalf("list offsets: %v", err)
	}
	type place struct {
		topic     string
		partition int32
	}
	left := map[place]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, _ := starts.Lookup(o.Topic, o.Partition); start.Offset < o.Offset {
			left[place{o.Topic, o.Partition}] = o.Offset
		}
	})
	cl := c.Client(t, kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	var all []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %v: %v left: %v", topics, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := place{r.Topic, r.Partition}
			if r.Offset >= left[at]-1 {
				delete(left, at)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}
