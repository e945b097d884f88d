package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

const nameLedger = "parley ledger"

// ledgerRow is what a full ledger costs: memory, and the time that a new owner
// needs before it handles anything.
type ledgerRow struct {
	IDs      int       `json:"ids"`
	MiB      float64   `json:"mib"`
	Rebuild  float64   `json:"rebuild_s"` // median
	Rebuilds []float64 `json:"rebuild_s_by_round"`
	Single   float64   `json:"rebuild_single_s"` // median, with a record for each mark
	Singles  []float64 `json:"rebuild_single_s_by_round"`
}

func (r *ledgerRow) String() string {
	return fmt.Sprintf("ledger, %d M IDs: %.1f MiB, rebuild %.2f s (%.2f s with one mark a record)",
		r.IDs/1_000_000, r.MiB, r.Rebuild, r.Single)
}

// busyMarks is how many marks share a record under load; an idle lane writes
// one in each.
const busyMarks = 50

// ledgerRounds measures ledgers of so many messages.
func ledgerRounds(ctx context.Context, e *env, ids, rounds int) (*ledgerRow, error) {
	row := &ledgerRow{IDs: ids}
	var err error
	if row.Rebuilds, row.MiB, err = e.rebuilds(ctx, ids, busyMarks, rounds); err != nil {
		return nil, err
	}
	if row.Singles, _, err = e.rebuilds(ctx, ids, 1, rounds); err != nil {
		return nil, err
	}
	row.Rebuild, row.Single = median(row.Rebuilds), median(row.Singles)
	return row, nil
}

// rebuilds fills one ledger partition with marks and takes it over as a new owner
// does, a few times: it reads the log, decodes the marks and recalls each.
func (e *env) rebuilds(ctx context.Context, ids, marksPerRecord, rounds int) (seconds []float64, mib float64, err error) {
	topic := streaming.LedgerTopic(e.namespace.Inbox("owner-"+shortID()), "owner")
	if err := e.create(ctx, topic); err != nil {
		return nil, 0, err
	}
	if err := e.fillLedger(ctx, topic, ids, marksPerRecord); err != nil {
		return nil, 0, err
	}
	log, err := kafka.NewLog(kafka.Config{Brokers: e.brokers, ClientID: "bench", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	ends, err := log.HighWatermarks(ctx, topic)
	if err != nil {
		return nil, 0, err
	}
	tp := streaming.TopicPartition{Topic: topic}
	for range rounds {
		before := liveHeap()
		window := ledger.NewWindow(24*time.Hour, ids, time.Now)
		lane := pipeline.NewLane(ctx, pipeline.Config{LedgerTopic: topic, Facts: window})
		started := time.Now()
		var failed error
		err := log.Scan(ctx, []kafka.Range{{TopicPartition: tp, To: ends[tp]}}, func(rec streaming.Record) {
			failed = errors.Join(failed, schemas.EachMark(ctx, e.platform.Codec(), rec.Value, func(m *streaming.Mark) { lane.RecallMark(m, rec.Offset) }))
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, 0, err
		}
		seconds = append(seconds, time.Since(started).Seconds())
		mib = max(mib, float64(liveHeap()-before)/(1<<20))
		if window.Len() != ids {
			return nil, 0, fmt.Errorf("%d IDs of %d are known", window.Len(), ids)
		}
		runtime.KeepAlive(lane)
	}
	return seconds, mib, e.remove(ctx, func(t string) bool { return t == topic })
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (e *env) fillLedger(ctx context.Context, topic string, ids, marksPerRecord int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(e.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed error
	marks := make([]streaming.Mark, 0, marksPerRecord)
	for n := range ids {
		marks = append(marks, streaming.Mark{
			Kind: streaming.MarkDone, ID: streaming.HashID("bench", string(binary.BigEndian.AppendUint64(nil, uint64(n)))),
			Attempts: 1, Offset: int64(n), Origin: int64(n), Time: time.Now(),
		})
		if len(marks) < marksPerRecord && n < ids-1 {
			continue
		}
		value, err := schemas.EncodeMarks(ctx, e.platform.Codec(), marks)
		if err != nil {
			return err
		}
		marks = marks[:0]
		client.Produce(ctx, &kgo.Record{Topic: topic, Value: value}, func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
	}
	return errors.Join(client.Flush(ctx), failed)
}
