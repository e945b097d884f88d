package streamtest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// archive keeps what stands in ledgers, so that the checkers still see what
// workers trim while the simulation runs. It is the log as if nothing had been
// trimmed there.
type archive struct {
	*kafka.Log
	ledgers []string
	records map[streaming.TopicPartition][]streaming.Record
	next    map[streaming.TopicPartition]int64
}

func newArchive(log *kafka.Log, agents []*agent) *archive {
	a := &archive{Log: log, records: make(map[streaming.TopicPartition][]streaming.Record), next: make(map[streaming.TopicPartition]int64)}
	for _, ag := range agents {
		if ag.cfg.LedgerWindow == 0 || ag.cfg.LedgerWindow > time.Hour {
			continue // nothing is trimmed within a simulation
		}
		for _, topic := range ag.inputs() {
			a.ledgers = append(a.ledgers, streaming.LedgerTopic(topic, ag.cfg.Group))
		}
	}
	return a
}

// keep reads on until stop is closed. What is trimmed is older than a window.
func (a *archive) keep(ctx context.Context, stop <-chan struct{}) error {
	for len(a.ledgers) > 0 {
		_ = a.catchUp(ctx) // a fault may hit it: then it is tried again
		select {
		case <-stop:
			if err := a.catchUp(ctx); err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(time.Second)
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return nil
}

func (a *archive) catchUp(ctx context.Context) error {
	ends, err := a.Log.EndOffsets(ctx, a.ledgers...)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	starts, err := a.Log.StartOffsets(ctx, a.ledgers...)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		if starts[tp] > a.next[tp] {
			return fmt.Errorf("archive: %v was trimmed up to %d before it was read from %d", tp, starts[tp], a.next[tp])
		}
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: a.next[tp], To: end})
	}
	return a.Log.Scan(ctx, ranges, func(rec streaming.Record) {
		tp := streaming.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}
		a.records[tp] = append(a.records[tp], rec)
		a.next[tp] = rec.Offset + 1
	})
}

func (a *archive) has(topic string) bool {
	for _, l := range a.ledgers {
		if l == topic {
			return true
		}
	}
	return false
}

// StartOffsets returns 0 for what is kept.
func (a *archive) StartOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error) {
	starts, err := a.Log.StartOffsets(ctx, topics...)
	for tp := range starts {
		if a.has(tp.Topic) {
			starts[tp] = 0
		}
	}
	return starts, err
}

// Scan reads what is kept and the rest from the broker.
func (a *archive) Scan(ctx context.Context, ranges []kafka.Range, each func(streaming.Record)) error {
	var rest []kafka.Range
	for _, r := range ranges {
		if !a.has(r.TopicPartition.Topic) {
			rest = append(rest, r)
			continue
		}
		for _, rec := range a.records[r.TopicPartition] {
			if rec.Offset >= r.From && rec.Offset < r.To {
				each(rec)
			}
		}
	}
	return a.Log.Scan(ctx, rest, each)
}

// trimmed reports how many ledger partitions have been trimmed.
func (a *archive) trimmed(ctx context.Context) int {
	n := 0
	if len(a.ledgers) == 0 {
		return 0
	}
	starts, err := a.Log.StartOffsets(ctx, a.ledgers...)
	if err != nil {
		return 0
	}
	for tp, at := range starts {
		if at > 0 && strings.Contains(tp.Topic, ".ledger.") {
			n++
		}
	}
	return n
}
