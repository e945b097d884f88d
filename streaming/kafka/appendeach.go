package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// AppendEach appends records and waits until each is acknowledged or has failed.
// The errors are in the order of the records; nil is acknowledged. Where one of a
// partition fails for another reason than itself, so do those behind it.
func (l *Log) AppendEach(ctx context.Context, recs ...*streaming.Record) []error {
	places := make(map[*kgo.Record]int, len(recs))
	out := make([]*kgo.Record, len(recs))
	for i, rec := range recs {
		out[i] = toClient(rec)
		places[out[i]] = i
	}
	l.limits.await(ctx, recs)
	errs := make([]error, len(recs))
	for _, r := range l.client.ProduceSync(ctx, out...) {
		if r.Err != nil {
			errs[places[r.Record]] = fmt.Errorf("append to %s: %w", r.Record.Topic, l.limits.refusal(ctx, r.Record, r.Err))
		}
	}
	return errs
}
