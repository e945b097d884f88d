package board

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// View is a board as one process sees it: all of it in memory, following the topic.
// It is behind the board by as long as a record takes, and each key only ever goes
// forward; Wait waits until it has come to a version. What it returns is shared and
// must not be changed. Any number of goroutines may use it.
//
// A record that cannot be read (no envelope of the contract, no version, a value of
// another schema) is counted and logged, and its key keeps what it had. Where the
// schema registry does not answer, the view stands still until it does.
type View[T any] struct {
	board  string
	decode func(ctx context.Context, rec *streaming.Record, messageType string) (T, error)
	count  *telemetry.Board
	logger *slog.Logger

	mu       sync.RWMutex
	table    table[T]
	position map[int32]int64
	bad      map[string]*UnreadableError // by key, until there is a good version
	seq      int64
	changed  chan struct{} // closed at the next change; nil: nobody waits for it
	err      error         // why it has ended

	ready   chan struct{}
	stop    context.CancelFunc
	stopped chan struct{}
}

// ErrClosed says that the view was closed.
var ErrClosed = errors.New("the view was closed")

// UnreadableError says that a key's latest record cannot be read.
type UnreadableError struct {
	Board, Key string
	Version    int64 // as the record says; 0: it does not
	Partition  int32
	Offset     int64
	Err        error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("the record of key %q of board %s at %d/%d cannot be read: %v; the version before it stands until the key is set again", e.Key, e.Board, e.Partition, e.Offset, e.Err)
}

// Unwrap returns what is wrong with the record.
func (e *UnreadableError) Unwrap() error { return e.Err }

// Open returns a view of the board once it has read all that stood there at the
// call; ctx bounds that alone. It makes sure of the board's topic, and needs no
// keeper.
func (b *Board[T]) Open(ctx context.Context, p *agents.Platform) (*View[T], error) {
	codec := p.Codec()
	return open(ctx, p, b.name, func(ctx context.Context, rec *streaming.Record, messageType string) (value T, err error) {
		err = codec.Decode(ctx, rec.Value, &value, messageType)
		return value, err
	})
}

// OpenAny is Open for tools, of a board whose type is not known here: its values are
// those of schemas.Codec.DecodeAny.
func OpenAny(ctx context.Context, p *agents.Platform, name string) (*View[any], error) {
	codec := p.Codec()
	return open(ctx, p, name, func(ctx context.Context, rec *streaming.Record, _ string) (any, error) {
		_, value, err := codec.DecodeAny(ctx, rec.Value)
		return value, err
	})
}

func open[T any](ctx context.Context, p *agents.Platform, name string, decode func(context.Context, *streaming.Record, string) (T, error)) (*View[T], error) {
	if err := schemas.ValidName(keeperPrefix + name); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	log, err := p.OpenLog()
	if err != nil {
		return nil, err
	}
	topic := topic(p.Namespace(), name)
	if err := p.EnsureMaintained(ctx, log, topic); err != nil {
		log.Close()
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	v := &View[T]{
		board: name, decode: decode, count: p.Metrics().Board(name), logger: p.Logger(),
		position: make(map[int32]int64), bad: make(map[string]*UnreadableError),
		ready: make(chan struct{}), stop: stop, stopped: make(chan struct{}),
	}
	go v.follow(running, log, topic)
	select {
	case <-v.ready:
		return v, nil
	case <-v.stopped:
		return nil, v.err
	case <-ctx.Done():
		v.Close()
		return nil, fmt.Errorf("board %s was not read in time: %w", name, context.Cause(ctx))
	}
}

// Close ends the view. What it holds can still be read.
func (v *View[T]) Close() {
	v.stop()
	<-v.stopped
}

// Done is closed when the view follows the board no more; Err says why.
func (v *View[T]) Done() <-chan struct{} { return v.stopped }

// Err is why the view has ended, ErrClosed after Close; nil while it follows.
func (v *View[T]) Err() error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.err
}

func (v *View[T]) follow(ctx context.Context, log *kafka.Log, topic string) {
	defer close(v.stopped)
	defer log.Close()
	err := log.Tail(ctx, topic, func(rec streaming.Record) { v.take(ctx, &rec) }, func() { close(v.ready) })
	if err == nil {
		err = ErrClosed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
	v.wake()
}

// take enters a record.
func (v *View[T]) take(ctx context.Context, rec *streaming.Record) {
	e, err := v.read(ctx, rec)
	if ctx.Err() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.position[rec.Partition] = rec.Offset + 1
	if err != nil {
		v.unreadable(rec, e.version, err)
		return
	}
	if known := v.table.get(e.key); known != nil && known.version > e.version {
		return // it comes again, or from a keeper that was frozen since
	}
	v.seq++
	e.seq = v.seq
	v.table.put(&e)
	delete(v.bad, e.key)
	v.wake()
}

// read reads a record, and where the registry is down until it is back.
func (v *View[T]) read(ctx context.Context, rec *streaming.Record) (entry[T], error) {
	whole := *rec
	if rec.Value == nil {
		whole.Value = []byte{0} // a deletion, of which the envelope is all there is
	}
	env, err := schemas.DecodeEnvelope(&whole)
	e := entry[T]{key: string(rec.Key), version: env.Sequence, cause: maphash.String(seed, env.CausationID), exists: rec.Value != nil}
	switch {
	case err != nil:
		return e, err
	case env.Kind != streaming.KindStateDiff:
		return e, &schemas.ContractError{Header: schemas.HeaderKind, Problem: "is not " + string(streaming.KindStateDiff)}
	case env.Sequence < 1:
		return e, &schemas.ContractError{Header: schemas.HeaderSequence, Problem: "is not a version"}
	case e.key == "":
		return e, &schemas.ContractError{Header: "key", Problem: "is empty"}
	case !e.exists:
		return e, nil
	}
	for told := false; ; told = true {
		e.value, err = v.decode(ctx, rec, env.Type)
		if _, bad := schemas.ErrorReason(err); err == nil || bad || ctx.Err() != nil {
			return e, err
		}
		if !told {
			v.logger.Warn("the view of a board stands still", "board", v.board, "partition", rec.Partition, "offset", rec.Offset, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(readPause):
		}
	}
}

// readPause is the time until the registry is asked again.
const readPause = time.Second

// unreadable notes a record that cannot be read. A key is named in the log once,
// until it is good again.
func (v *View[T]) unreadable(rec *streaming.Record, version int64, err error) {
	v.count.BadRecord()
	key := strings.Clone(string(rec.Key))
	bad := &UnreadableError{Board: v.board, Key: key, Version: version, Partition: rec.Partition, Offset: rec.Offset, Err: err}
	known := v.bad[key]
	if known == nil {
		v.logger.Warn("a record of a board cannot be read", "board", v.board, "key", key, "partition", rec.Partition, "offset", rec.Offset, "error", err)
	}
	if known == nil || version >= known.Version {
		v.bad[key] = bad
	}
	v.wake()
}

// wake tells all who wait for a change. v.mu is held.
func (v *View[T]) wake() {
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

// Get returns the value of a key and its version. Where ok is false the key has no
// value; the version is then that of its deletion, or 0 where none is known (Kafka
// forgets deletions a day after they were made, about).
func (v *View[T]) Get(key string) (value T, version int64, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.table.get(key).read()
}

// Unreadable are the keys whose latest record cannot be read, in no order.
func (v *View[T]) Unreadable() []*UnreadableError {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Collect(maps.Values(v.bad))
}

// Len is how many keys have a value.
func (v *View[T]) Len() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.table.live
}

// All returns the keys that have a value, at one time, in no order.
func (v *View[T]) All() iter.Seq2[string, Entry[T]] { return v.Snapshot().All() }

// Snapshot returns the view as it is now.
func (v *View[T]) Snapshot() *Snapshot[T] {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.snapshot()
}

func (v *View[T]) snapshot() *Snapshot[T] {
	return &Snapshot[T]{v.table.share(), maps.Clone(v.position)}
}
