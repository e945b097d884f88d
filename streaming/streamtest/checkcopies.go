package streamtest

import (
	"bytes"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// checkCopies: what stands in retry and dead-letter topics has the key, value
// and headers of its input record, byte for byte.
func (m *simulator) checkCopies(a *agent, l *log) {
	for _, topic := range a.inputs() {
		companions := []string{streaming.DeadLetterTopic(topic, a.cfg.Group)}
		for _, d := range a.cfg.Retry.Tiers {
			companions = append(companions, streaming.RetryTopic(topic, d, a.cfg.Group))
		}
		if a.cfg.Hold {
			companions = append(companions, streaming.HoldTopic(topic, a.cfg.Group))
		}
		type at struct {
			partition int32
			offset    int64
		}
		origins := make(map[at]*streaming.Record)
		for i := range l.records[topic] {
			rec := &l.records[topic][i]
			origins[at{rec.Partition, rec.Offset}] = rec
		}
		for _, companion := range companions {
			for i := range l.records[companion] {
				rec := &l.records[companion][i]
				headers, hop, ok, err := schemas.SplitHop(rec.Headers)
				if !ok && (a.redriven || a.cfg.Hold) && companion == companions[0] {
					continue // a note of a redrive or a discard
				}
				if err != nil || !ok || hop.Origin.Topic != topic {
					m.violation("copies: %s/%d offset %d has no hop data: %v", companion, rec.Partition, rec.Offset, err)
					continue
				}
				from := origins[at{hop.Origin.Partition, hop.Origin.Offset}]
				switch {
				case from == nil || hop.Origin.Partition != rec.Partition:
					m.violation("copies: %s/%d offset %d comes from no input record", companion, rec.Partition, rec.Offset)
				case !bytes.Equal(rec.Key, from.Key) || (rec.Key == nil) != (from.Key == nil):
					m.violation("copies: %s/%d offset %d has another key than its input record", companion, rec.Partition, rec.Offset)
				case !bytes.Equal(rec.Value, from.Value) || (rec.Value == nil) != (from.Value == nil):
					m.violation("copies: %s/%d offset %d has another value than its input record", companion, rec.Partition, rec.Offset)
				case !slices.EqualFunc(headers, from.Headers, func(x, y streaming.Header) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) }):
					m.violation("copies: %s/%d offset %d has other headers than its input record", companion, rec.Partition, rec.Offset)
				}
			}
		}
	}
}
