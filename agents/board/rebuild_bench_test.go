package board_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// BenchmarkRebuild is a new view of a board of 100,000 keys with values of some 30
// bytes, on the embedded broker.
func BenchmarkRebuild(b *testing.B) {
	server, err := embedded.Start(b.Context(), embedded.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := server.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	p, err := agents.Connect(b.Context(), agents.PlatformConfig{Brokers: server.Brokers(), Schemas: schemas.NewMemoryRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	const keys = 100_000
	v, err := prices.Open(b.Context(), p)
	if err != nil {
		b.Fatal(err)
	}
	v.Close()
	fill(b, p, server.Brokers(), keys)
	for b.Loop() {
		before := heap()
		begin := time.Now()
		v, err := prices.Open(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		took := time.Since(begin)
		if v.Len() != keys {
			b.Fatalf("%d keys", v.Len())
		}
		v.Close()
		b.ReportMetric(float64(heap()-before)/keys, "B/key")
		b.ReportMetric(took.Seconds()*1000, "ms/rebuild")
		begin = time.Now()
		first := v.Snapshot()
		b.ReportMetric(float64(time.Since(begin).Microseconds()), "us/snapshot")
		begin = time.Now()
		n := 0
		for range first.All() {
			n++
		}
		b.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "ms/all")
		runtime.KeepAlive(v)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill writes keys to the board as its keeper does.
func fill(t testing.TB, p *agents.Platform, brokers []string, keys int) {
	t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var recs []*streaming.Record
	for i := range keys {
		value, err := p.Codec().Encode(t.Context(), price{Cents: int64(i), By: fmt.Sprint("agent-of-the-key-", i)})
		if err != nil {
			t.Fatal(err)
		}
		env := streaming.Envelope{
			ID: schemas.NewID(), Source: "board-prices", Type: "test.price", Kind: streaming.KindStateDiff, Sequence: 1, Time: time.Now(),
			CorrelationID: schemas.NewID(), CausationID: schemas.NewID(), Hops: 31,
		}
		recs = append(recs, &streaming.Record{Topic: "parley.state.prices", Partition: -1, Key: fmt.Appendf(nil, "key-%d", i), Value: value, Headers: schemas.AppendEnvelope(nil, &env)})
		if len(recs) == 5000 || i == keys-1 {
			if _, err := log.AppendSync(t.Context(), recs...); err != nil {
				t.Fatal(err)
			}
			recs = recs[:0]
		}
	}
}
