package worker

import (
	"context"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Follow is a topic that is read from its start, and on as it grows, while a worker
// runs.
type Follow struct {
	Topic kafka.TopicSpec
	// Each takes the records of a partition in order. It may block until ctx ends.
	Each func(ctx context.Context, rec streaming.Record)
	// CaughtUp is called once: what stood there at the start has been taken.
	CaughtUp func()
}

func (w *Worker) follow(ctx context.Context, f Follow) error {
	return w.log.Tail(ctx, f.Topic.Name, func(rec streaming.Record) { f.Each(ctx, rec) }, func() {
		f.CaughtUp()
		w.controlling.Lock()
		defer w.controlling.Unlock()
		w.unread--
		w.obey()
	})
}
