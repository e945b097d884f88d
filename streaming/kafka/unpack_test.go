package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// A batch of any compression is read, and each is written when it is chosen.
func TestCompressions(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	value := bytes.Repeat([]byte("a text that can be compressed "), 1000)
	for i, compression := range append(kafka.Compressions(), "") {
		log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers, Compression: compression})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(log.Close)
		if i == 0 {
			if err := log.ApplyTopics(t.Context(), &kafka.TopicPlan{Create: []kafka.NewTopic{{Name: "t", Partitions: 1}}}, -1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.AppendSync(t.Context(), &streaming.Record{Topic: "t", Value: value}); err != nil {
			t.Fatal(err)
		}
		rec, err := log.Load(t.Context(), "t", 0, int64(i))
		if err != nil || !bytes.Equal(rec.Value, value) {
			t.Errorf("%q: %d bytes, %v", compression, len(rec.Value), err)
		}
		want := map[kafka.Compression]uint8{"none": 0, "gzip": 1, "snappy": 2, "": 2, "lz4": 3, "zstd": 4}[compression]
		if r := c.ReadAll(t, "t")[i]; r.Attrs.CompressionType() != want {
			t.Errorf("%q is written as codec %d, want %d", compression, r.Attrs.CompressionType(), want)
		}
	}
	if err := (kafka.Config{Compression: "brotli", MaxUnpackedBytes: -1, MaxRecordBytes: 1}).Validate(); err == nil {
		t.Error("a compression that there is not is taken")
	}
}

// heapNow is what the heap has in use, garbage included.
func heapNow() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// watchHeap returns the most that the heap grows by until the returned function is
// called.
func watchHeap() func() uint64 {
	before := debug.SetGCPercent(25) // what is meant is not garbage
	for range 3 {                    // what a pool keeps goes with the second
		runtime.GC()
	}
	base := heapNow()
	var most atomic.Uint64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if held := heapNow(); held > base {
				most.Store(max(most.Load(), held-base))
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-ended
		debug.SetGCPercent(before)
		return most.Load()
	}
}

// sendBomb writes one batch of records of zeros.
func sendBomb(t *testing.T, c *streamtest.Cluster, codec kgo.CompressionCodec, partition int32, records, size int) {
	t.Helper()
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(1<<30),
		kgo.BrokerMaxWriteBytes(1<<30), kgo.ManualFlushing(), kgo.MaxBufferedRecords(2*records))
	zeros := make([]byte, size)
	for range records {
		cl.Produce(t.Context(), &kgo.Record{Topic: "t", Partition: partition, Value: zeros}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	cl.Close()
}

// Not in parallel: it measures the heap.
func TestABombStopsItsPartitionOnly(t *testing.T) {
	for name, b := range map[string]struct {
		codec         kgo.CompressionCodec
		records, size int // of the bomb
	}{
		"zstd":          {kgo.ZstdCompression(), 1, 512 << 20},
		"lz4":           {kgo.Lz4Compression(), 1, 128 << 20},
		"gzip":          {kgo.GzipCompression(), 1, 128 << 20},
		"empty records": {kgo.ZstdCompression(), 500_000, 0}, // little data, but a lot of records
	} {
		t.Run(name, func(t *testing.T) {
			c := streamtest.NewCluster(t)
			const limit = 8 << 20
			log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers, MaxUnpackedBytes: limit})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(log.Close)
			if err := log.ApplyTopics(t.Context(), &kafka.TopicPlan{Create: []kafka.NewTopic{{Name: "t", Partitions: 2}}}, -1); err != nil {
				t.Fatal(err)
			}
			at := func(p int32) streaming.TopicPartition { return streaming.TopicPartition{Topic: "t", Partition: p} }
			if _, err := log.AppendSync(t.Context(), &streaming.Record{Topic: "t", Value: []byte("before")}); err != nil {
				t.Fatal(err)
			}
			sendBomb(t, c, b.codec, 0, b.records, b.size)
			most := watchHeap()
			ctx, stop := context.WithCancel(t.Context())
			read := make(chan string, 10)
			stands := make(chan *kafka.UnpackedTooLargeError, 10)
			ended := make(chan error, 1)
			log.Follow(map[streaming.TopicPartition]int64{at(0): 0, at(1): 0})
			go func() {
				ended <- log.Read(ctx, nil, func(_ streaming.TopicPartition, recs []streaming.Record) {
					for _, r := range recs {
						read <- string(r.Value)
					}
				}, func(e *kafka.UnpackedTooLargeError) { stands <- e })
			}()
			if got := <-read; got != "before" {
				t.Errorf("%.20q is read, want what stands before", got)
			}
			e := <-stands
			if e.TopicPartition != at(0) || e.Offset != 1 || e.Next != 1+int64(b.records) || e.Limit != limit {
				t.Fatalf("%+v", e)
			}
			if _, err := log.AppendSync(t.Context(), &streaming.Record{Topic: "t", Partition: 1, Value: []byte("beside")}, &streaming.Record{Topic: "t", Value: []byte("behind")}); err != nil {
				t.Fatal(err)
			}
			if got := <-read; got != "beside" {
				t.Errorf("%.20q is read, want what stands in the other partition", got)
			}
			// Who wants to go on sets the offset behind the batch.
			log.Leave([]streaming.TopicPartition{at(0)})
			log.Follow(map[streaming.TopicPartition]int64{at(0): e.Next})
			if got := <-read; got != "behind" {
				t.Errorf("%.20q is read, want what stands behind", got)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			var same *kafka.UnpackedTooLargeError
			if err := log.Scan(t.Context(), []kafka.Range{{TopicPartition: at(0), From: 0, To: e.Next}}, func(streaming.Record) {}); !errors.As(err, &same) || same.Offset != 1 {
				t.Errorf("a scan of it: %v", err)
			}
			grown := most()
			t.Logf("the heap has grown by up to %d MiB", grown>>20)
			if grown > 12*limit { // a buffer that grows, what it was before, and garbage, which is more with the race detector
				t.Errorf("the heap has grown by %d bytes, the limit of a batch is %d", grown, limit)
			}
		})
	}
}

// Many batches that are within the limit, each, come bit by bit.
func TestManyBombsAtOnce(t *testing.T) {
	c := streamtest.NewCluster(t)
	const limit, n, size = 8 << 20, 40, 7 << 20
	log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers, MaxUnpackedBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	if err := log.ApplyTopics(t.Context(), &kafka.TopicPlan{Create: []kafka.NewTopic{{Name: "t", Partitions: 2}}}, -1); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		sendBomb(t, c, kgo.ZstdCompression(), int32(i%2), 1, size)
	}
	most := watchHeap()
	ctx, stop := context.WithCancel(t.Context())
	log.Follow(map[streaming.TopicPartition]int64{{Topic: "t"}: 0, {Topic: "t", Partition: 1}: 0})
	left := n
	if err := log.Read(ctx, nil, func(_ streaming.TopicPartition, recs []streaming.Record) {
		if left -= len(recs); left == 0 {
			stop()
		}
	}, func(e *kafka.UnpackedTooLargeError) { t.Error(e) }); err != nil {
		t.Fatal(err)
	}
	grown := most()
	t.Logf("of %d MiB the heap has held up to %d MiB", n*size>>20, grown>>20)
	if grown > 12*limit {
		t.Errorf("the heap has grown by %d bytes, the limit is %d", grown, limit)
	}
}
