package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// EndAbandoned aborts transactions that are open for longer than that, have
// written to one of the partitions, and belong to a transactional ID of that
// prefix: what a former owner has left open, that was frozen in the middle of
// it. The broker would abort it when its timeout has passed and it looks for
// such transactions the next time, up to 20 s later. It returns the IDs. The
// producer is fenced by it (KIP-98); should it go on, it gets an error and has
// to start anew.
func (l *Log) EndAbandoned(ctx context.Context, prefix string, after time.Duration, partitions []streaming.TopicPartition) ([]string, error) {
	list := kmsg.NewPtrListTransactionsRequest()
	list.StateFilters = []string{"Ongoing"}
	list.DurationFilterMillis = after.Milliseconds()
	var ids []string
	for _, shard := range l.client.RequestSharded(ctx, list) {
		if shard.Err != nil {
			return nil, fmt.Errorf("list transactions: %w", shard.Err)
		}
		resp := shard.Resp.(*kmsg.ListTransactionsResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, fmt.Errorf("list transactions: %w", err)
		}
		for _, s := range resp.TransactionStates {
			if strings.HasPrefix(s.TransactionalID, prefix) {
				ids = append(ids, s.TransactionalID)
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	described, err := l.admin.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe transactions: %w", err)
	}
	var ended []string
	for _, d := range described.Sorted() {
		// The age again, as a broker that does not know the filter lists all.
		if d.Err != nil || time.Since(time.UnixMilli(d.StartTimestamp)) < after || !touches(d, partitions) {
			continue
		}
		if err := l.fence(ctx, d.TxnID, d.TimeoutMillis); err != nil {
			return ended, fmt.Errorf("end the transaction of %s: %w", d.TxnID, err)
		}
		ended = append(ended, d.TxnID)
	}
	return ended, nil
}

func touches(d kadm.DescribedTransaction, partitions []streaming.TopicPartition) bool {
	for _, tp := range partitions {
		if d.Topics.Lookup(tp.Topic, tp.Partition) {
			return true
		}
	}
	return false
}

// fence takes a transactional ID over: what is open under it is aborted.
func (l *Log) fence(ctx context.Context, id string, timeoutMillis int32) error {
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &id, timeoutMillis
		resp, err := req.RequestWith(ctx, l.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		select { // the abort is being written
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
