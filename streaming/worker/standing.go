package worker

import (
	"maps"
	"slices"

	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// stand notes a partition with a batch that cannot be unpacked. Its lane settles what
// it has read and goes on with its other logs; the other lanes are as they were. To
// skip the batch would lose records, and to end the worker would stop all others, over
// and over.
func (ls *lanes) stand(e *kafka.UnpackedTooLargeError) {
	ls.mu.Lock()
	if _, routed := ls.routes[e.TopicPartition]; routed {
		ls.standing[e.TopicPartition] = e
	}
	ls.mu.Unlock()
	ls.w.cfg.Logger.Error("a partition stands still", "agent", ls.w.cfg.Agent, "partition", e.TopicPartition, "error", e)
}

// tellStanding says again what stands still: somebody has to do something.
func (ls *lanes) tellStanding() {
	ls.mu.Lock()
	all := slices.Collect(maps.Values(ls.standing))
	ls.mu.Unlock()
	for _, e := range all {
		ls.w.cfg.Logger.Error("a partition stands still", "agent", ls.w.cfg.Agent, "partition", e.TopicPartition, "error", e)
	}
}
