package kafka

import (
	"context"
	"fmt"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// AppendOne appends one record, waits until it is acknowledged and returns the
// place that it got.
func (l *Log) AppendOne(ctx context.Context, rec *streaming.Record) (partition int32, offset int64, err error) {
	l.limits.await(ctx, []*streaming.Record{rec})
	r, err := l.client.ProduceSync(ctx, toClient(rec)).First()
	if err != nil {
		return 0, 0, fmt.Errorf("append to %s: %w", rec.Topic, l.limits.refusal(ctx, r, err))
	}
	return r.Partition, r.Offset, nil
}
