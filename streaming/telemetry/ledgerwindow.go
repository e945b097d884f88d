package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ledgerWindow shows the smallest of the windows of the ledger partitions that
// this worker owns; without any it shows the configured one.
type ledgerWindow struct {
	effective, configured prometheus.Gauge

	mu         sync.Mutex
	limit      time.Duration
	partitions map[int32]time.Duration
}

func (w *ledgerWindow) set(partition int32, effective, configured time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partitions[partition], w.limit = effective, configured
	w.show()
}

func (w *ledgerWindow) forget(partition int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.partitions, partition)
	w.show()
}

func (w *ledgerWindow) show() {
	least := w.limit
	for _, d := range w.partitions {
		least = min(least, d)
	}
	w.effective.Set(seconds(least))
	w.configured.Set(seconds(w.limit))
}
