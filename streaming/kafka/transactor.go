package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// transactionTimeout plus the broker's scan for timed-out transactions (10 s)
// stays below the default session timeout (45 s): a frozen owner's transaction
// is gone before its partitions are taken over. With shorter sessions, and with
// KIP-848, Log.EndAbandoned ends it.
const transactionTimeout = 10 * time.Second

// Transactor writes records and commits offsets in Kafka transactions, one at a
// time. It is used by one goroutine.
type Transactor struct {
	cfg    Config
	id     string
	client *kgo.Client
	limits *limits
	topics topicIDs
	known  map[string]bool // topics whose partitions the client has in place
	room   []kgo.Record    // for those of a transaction; the client has let go of the former's
}

// NewTransactor returns a transactor with that transactional ID, which fences
// its predecessor of the same ID at the first transaction.
func NewTransactor(c Config, transactionalID string) (*Transactor, error) {
	t := &Transactor{cfg: c, id: transactionalID}
	t.limits = newLimits(c, func() *kadm.Client { return kadm.NewClient(t.client) })
	return t, t.renew()
}

// renew makes a new producer.
func (t *Transactor) renew() error {
	if t.client != nil {
		t.client.Close()
	}
	cl, err := kgo.NewClient(append(append(t.cfg.options(), t.cfg.producing(t.limits)...),
		kgo.TransactionalID(t.id),
		kgo.ManualFlushing(), // all of a transaction is known before any of it is sent: it goes in few requests
		kgo.TransactionTimeout(transactionTimeout),
		kgo.ConcurrentTransactionsBackoff(time.Millisecond),
	)...)
	t.client, t.known = cl, make(map[string]bool)
	return err
}

// Close ends the producer. A transaction under way is aborted by the broker.
func (t *Transactor) Close() {
	t.limits.stop()
	t.client.Close()
}

// Fits is as Log.Fits.
func (t *Transactor) Fits(rec *streaming.Record) error { return t.limits.fits(rec) }

// AbortedError says that nothing of a transaction has become visible.
type AbortedError struct {
	Err     error
	Refused map[int]error // records that can never be written, by index
}

func (e *AbortedError) Error() string { return fmt.Sprintf("transaction aborted: %v", e.Err) }

// Unwrap returns the cause.
func (e *AbortedError) Unwrap() error { return e.Err }

// UnknownEndError says that a transaction has either become visible as a whole
// or not at all, and that only the logs can say which.
type UnknownEndError struct{ Err error }

func (e *UnknownEndError) Error() string {
	return fmt.Sprintf("it is not known whether a transaction was committed: %v", e.Err)
}

// Unwrap returns the cause.
func (e *UnknownEndError) Unwrap() error { return e.Err }

// Do writes records and commits offsets in one transaction: all or nothing. The
// offsets are committed first: that brings the check of the member's
// generation, and EndTxn checks nothing. It returns the offsets of the records.
// When all is written, valid is asked whether to commit. An error is an
// AbortedError or an UnknownEndError; after either the next Do works again.
func (t *Transactor) Do(ctx context.Context, m Membership, commit map[streaming.TopicPartition]int64, recs []*streaming.Record, valid func() bool) ([]int64, error) {
	if m.none() {
		return nil, &AbortedError{Err: ErrFenced}
	}
	t.limits.await(ctx, recs)
	if err := t.client.BeginTransaction(); err != nil {
		return nil, t.abort(ctx, err, nil)
	}
	if err := t.commitOffsets(ctx, m, commit); err != nil {
		return nil, t.abort(ctx, err, nil)
	}
	var (
		mu      sync.Mutex
		failed  map[*kgo.Record]error
		first   error
		refused map[int]error
		out     = slices.Grow(t.room[:0], len(recs))[:len(recs)]
	)
	t.room = nil // unless all goes well, the client may hold some
	done := func(r *kgo.Record, err error) {
		if err == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = make(map[*kgo.Record]error)
		}
		failed[r] = err
		if first == nil {
			first = fmt.Errorf("append to %s: %w", r.Topic, err)
		}
	}
	for i, rec := range recs {
		out[i] = clientRecord(rec)
		t.client.Produce(ctx, &out[i], done)
	}
	if err := t.client.Flush(ctx); err != nil {
		return nil, t.abort(ctx, err, nil)
	}
	if first != nil {
		for i := range out {
			err := failed[&out[i]]
			if err != nil {
				err = t.limits.refusal(ctx, &out[i], err)
			}
			if errors.Is(err, streaming.ErrRecordTooLarge) || errors.Is(err, streaming.ErrUnknownTopic) {
				if refused == nil {
					refused = make(map[int]error)
				}
				refused[i] = err
			}
		}
		return nil, t.abort(ctx, first, refused)
	}
	if err := t.awaitPartitions(ctx, recs, t.client.PartitionLeader); err != nil {
		return nil, t.abort(ctx, err, nil)
	}
	if !valid() {
		return nil, t.abort(ctx, ErrFenced, nil)
	}
	if err := t.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		if rerr := t.renew(); rerr != nil {
			err = errors.Join(err, rerr)
		}
		return nil, &UnknownEndError{Err: err}
	}
	offsets := make([]int64, len(out))
	for i := range out {
		offsets[i] = out[i].Offset
	}
	clear(out)
	t.room = out
	return offsets, nil
}

// awaitPartitions waits until the client has the partitions in place of all that
// it has written. It may have written to a topic that is new to it, and had the
// acknowledgement, a moment before it puts them in place. What it ends is a
// transaction of the partitions that it has: if there are none, it aborts what is
// to be committed, as empty, and reports success.
func (t *Transactor) awaitPartitions(ctx context.Context, recs []*streaming.Record, leader func(topic string, partition int32) (id, epoch int32, err error)) error {
	for _, rec := range recs {
		for !t.known[rec.Topic] {
			if id, epoch, err := leader(rec.Topic, 0); id >= 0 || epoch >= 0 || err != nil {
				t.known[rec.Topic] = true
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Microsecond):
			}
		}
	}
	return nil
}

// abort ends a transaction without effect, by a new producer: its InitProducerID
// aborts what the old one left open. The client's own abort would end nothing
// where it knows of no partition, as where only offsets were sent: the next
// transaction would commit them.
func (t *Transactor) abort(ctx context.Context, cause error, refused map[int]error) error {
	err := t.renew()
	if err == nil {
		// Now, as readers wait for it. Where it fails the next transaction does it.
		_, _, _ = t.client.ProducerID(ctx)
	}
	return &AbortedError{Err: errors.Join(cause, err), Refused: refused}
}

// commitOffsets commits under a member's generation. Each topic needs its name
// and its ID: brokers of different versions ask for one or the other.
func (t *Transactor) commitOffsets(ctx context.Context, m Membership, commit map[streaming.TopicPartition]int64) error {
	ids, err := t.topics.of(ctx, t.client, maps.Keys(commit))
	if err != nil {
		return err
	}
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("producer ID: %w", err)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = t.id, m.Group
	req.ProducerID, req.ProducerEpoch = id, epoch
	req.MemberID, req.Generation = m.MemberID, m.Generation
	byTopic := make(map[string]*kmsg.TxnOffsetCommitRequestTopic)
	for tp, at := range commit {
		topic := byTopic[tp.Topic]
		if topic == nil {
			rt := kmsg.NewTxnOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = tp.Topic, ids[tp.Topic]
			topic = &rt
			byTopic[tp.Topic] = topic
		}
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = tp.Partition, at
		topic.Partitions = append(topic.Partitions, p)
	}
	for _, topic := range byTopic {
		req.Topics = append(req.Topics, *topic)
	}
	for {
		resp, err := req.RequestWith(ctx, t.client)
		if err != nil {
			return fmt.Errorf("commit offsets: %w", err)
		}
		switch err := worst(resp); {
		case err == nil:
			return nil
		case errors.Is(err, kerr.ConcurrentTransactions):
			select { // the end of the transaction before is still being written
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		case fenced(err):
			return fmt.Errorf("%w: %w", ErrFenced, err)
		default:
			if errors.Is(err, kerr.UnknownTopicID) {
				t.topics.forget()
			}
			return fmt.Errorf("commit offsets: %w", err)
		}
	}
}

func worst(resp *kmsg.TxnOffsetCommitResponse) error {
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
