package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// rebuild brings lanes to the state that the logs say and opens them (rules W1
// and F5): the committed offsets once no open transaction can change them, a
// claim in the ledger, the ledger up to the claim, then the tiers and the dead
// letters to their high watermarks. Nothing is handled before.
func (w *Worker) rebuild(ctx context.Context, batch []*owned) error {
	if len(batch) == 0 {
		return nil
	}
	b := &rebuilding{w: w}
	for _, o := range batch {
		b.all = append(b.all, &rebuilt{owned: o})
	}
	for _, step := range []func(context.Context) error{b.readOffsets, b.readLedgers, b.claim, b.locate, b.readTiers, b.readState} {
		if b.all = w.lanes.stillOwned(b.all); len(b.all) == 0 {
			return nil // taken away meanwhile
		}
		if err := step(ctx); err != nil {
			return fmt.Errorf("take over %d partitions: %w", len(batch), err)
		}
	}
	for _, r := range b.all {
		w.lanes.opened(r.owned, r.claimed, r.positions)
	}
	return nil
}

type rebuilding struct {
	w         *Worker
	all       []*rebuilt
	committed map[streaming.TopicPartition]int64
}

// rebuilt is what is known of one lane so far.
type rebuilt struct {
	*owned
	read       int64 // the ledger has been read up to this offset
	claimed    int64 // offset of our claim in the ledger
	checkpoint *streaming.Checkpoint
	positions  []int64 // where each log goes on
	unmarked   int64   // dead letters from here on may have no mark
	holding    int64   // and those from here on may hold their keys
}

func (r *rebuilt) ledger() streaming.TopicPartition {
	return streaming.TopicPartition{Topic: r.in.ledger, Partition: r.tp.Partition}
}

// abandonedAfter is how long offsets may be unstable until what makes them so is
// taken for abandoned: a transaction takes milliseconds.
const abandonedAfter = 2 * time.Second

// readOffsets waits for transactions of former owners, and ends those that a
// frozen one has left open.
func (b *rebuilding) readOffsets(ctx context.Context) error {
	var logs, ledgers []streaming.TopicPartition
	for _, r := range b.all {
		logs = append(logs, r.logs()...)
		ledgers = append(ledgers, r.ledger())
	}
	for {
		patience, cancel := context.WithTimeout(ctx, abandonedAfter)
		committed, err := b.w.log.CommittedOf(patience, b.w.cfg.Group, logs)
		cancel()
		if err == nil {
			b.committed = committed
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		ended, err := b.w.log.EndAbandoned(ctx, transactionalID(b.w.cfg.Group, ""), abandonedAfter, ledgers)
		if err != nil { // it ends by its timeout, then
			b.w.cfg.Logger.Warn("cannot end what a former owner may have left open; waiting for it", "error", err)
		}
		for _, id := range ended {
			b.w.cfg.Logger.Info("ended a transaction that a former owner had left open", "transactional_id", id)
		}
	}
}

// readLedgers reads each ledger partition to its end.
func (b *rebuilding) readLedgers(ctx context.Context) error {
	topics := b.topics(func(in input) []string { return []string{in.ledger} })
	starts, err := b.w.log.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := b.w.log.HighWatermarks(ctx, topics...)
	if err != nil {
		return err
	}
	for _, r := range b.all {
		r.read = starts[r.ledger()]
	}
	return b.readMarks(ctx, b.all, func(r *rebuilt) int64 { return ends[r.ledger()] })
}

// claim writes a claim to each ledger partition and reads up to it: what a
// former owner marked before it is known then, and the copies that it had
// appended before those marks stand in the tiers.
//
// A claim voids nothing. A worker that rebuilds a lane which it has lost
// meanwhile claims late, and cannot know: if claims ended what others mark, it
// would void the marks of the owner.
func (b *rebuilding) claim(ctx context.Context) error {
	value, err := schemas.EncodeMarks(ctx, b.w.cfg.Codec, []streaming.Mark{{
		Kind: streaming.MarkClaim, Origin: -1, Time: b.w.cfg.Clock.Now(),
	}})
	if err != nil {
		return err
	}
	recs := make([]*streaming.Record, len(b.all))
	for i, r := range b.all {
		recs[i] = &streaming.Record{Topic: r.in.ledger, Partition: r.tp.Partition, Value: value}
	}
	offsets, err := b.w.log.AppendSync(ctx, recs...)
	if err != nil {
		return err
	}
	for i, r := range b.all {
		r.claimed = offsets[i]
	}
	return b.readMarks(ctx, b.all, func(r *rebuilt) int64 { return r.claimed })
}

// readMarks reads ledger partitions on to an offset each.
func (b *rebuilding) readMarks(ctx context.Context, some []*rebuilt, to func(*rebuilt) int64) error {
	byTP := make(map[streaming.TopicPartition]*rebuilt)
	var ranges []kafka.Range
	for _, r := range some {
		byTP[r.ledger()] = r
		ranges = append(ranges, kafka.Range{TopicPartition: r.ledger(), From: r.read, To: to(r)})
	}
	var failed error
	err := b.w.log.Scan(ctx, ranges, func(rec streaming.Record) {
		if failed != nil {
			return
		}
		r := byTP[streaming.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}]
		err := schemas.EachMark(ctx, b.w.cfg.Codec, rec.Value, func(m *streaming.Mark) { r.recall(m, rec.Offset) })
		if err != nil {
			if _, bad := schemas.ErrorReason(err); !bad {
				failed = err
				return
			}
			b.w.cfg.Logger.Error("a mark in the ledger cannot be read and is skipped", "topic", rec.Topic,
				"partition", rec.Partition, "offset", rec.Offset, "error", err)
		}
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	for _, r := range some {
		r.read = max(r.read, to(r))
	}
	return nil
}

func (r *rebuilt) recall(m *streaming.Mark, offset int64) {
	if m.Kind == streaming.MarkCheckpoint {
		r.checkpoint = m.Checkpoint
		r.checkpoints = append(r.checkpoints, checkpoint{offset: offset, at: m.Time, ends: m.Checkpoint.Ends})
	}
	r.lane.RecallMark(m, offset)
}

// locate finds where each log goes on: the committed offset, or the copy of it
// in the ledger's checkpoint, or the start of a log that nobody has read. The
// input topic is never reset in silence.
func (b *rebuilding) locate(ctx context.Context) error {
	topics := b.topics(input.logs)
	starts, err := b.w.log.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := b.w.log.HighWatermarks(ctx, topics...)
	if err != nil {
		return err
	}
	for _, r := range b.all {
		for i, tp := range r.logs() {
			at, known := b.committed[tp]
			if !known && r.checkpoint != nil {
				at, known = r.checkpoint.Committed[tp.Topic]
			}
			if !known || i > 0 && at < starts[tp] {
				at = starts[tp]
			}
			if at < starts[tp] || at > ends[tp] {
				return &kafka.OffsetLostError{TopicPartition: tp, Wanted: at, Start: starts[tp], End: ends[tp]}
			}
			r.positions = append(r.positions, at)
		}
	}
	return nil
}

// readTiers reads the unsettled part of each tier, and the dead letters that
// the ledger may not know of or that hold their keys.
func (b *rebuilding) readTiers(ctx context.Context) error {
	dead := b.topics(func(in input) []string { return []string{in.dead} })
	tiers := b.topics(func(in input) []string { return in.tiers })
	starts, err := b.w.log.StartOffsets(ctx, dead...)
	if err != nil {
		return err
	}
	// The end of the dead letters first: where a note says that one was redriven, its
	// copy is in a tier before the end that is asked for after.
	deadEnds, err := b.w.log.HighWatermarks(ctx, dead...)
	if err != nil {
		return err
	}
	ends, err := b.w.log.HighWatermarks(ctx, tiers...)
	if err != nil {
		return err
	}
	type place struct {
		r    *rebuilt
		tier int
	}
	places := make(map[streaming.TopicPartition]place)
	var ranges []kafka.Range
	for _, r := range b.all {
		for i, topic := range r.in.tiers {
			tp := streaming.TopicPartition{Topic: topic, Partition: r.tp.Partition}
			places[tp] = place{r, i + 1}
			ranges = append(ranges, kafka.Range{TopicPartition: tp, From: r.positions[i+1], To: ends[tp]})
		}
		tp := streaming.TopicPartition{Topic: r.in.dead, Partition: r.tp.Partition}
		r.unmarked = starts[tp]
		if r.checkpoint != nil {
			r.unmarked = max(r.unmarked, r.checkpoint.Ends[r.in.dead])
		}
		r.holding = deadEnds[tp]
		if r.in.hold {
			r.holding = r.positions[len(r.positions)-1]
		}
		places[tp] = place{r, 0}
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: min(r.unmarked, r.holding), To: deadEnds[tp]})
	}
	return b.w.log.Scan(ctx, ranges, func(rec streaming.Record) {
		p := places[streaming.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}]
		if p.tier > 0 {
			p.r.lane.RecallTier(p.tier, rec)
			return
		}
		if rec.Offset >= p.r.unmarked {
			p.r.lane.RecallDead(rec)
		}
		if rec.Offset >= p.r.holding {
			p.r.lane.RecallHeld(rec)
		}
	})
}

// readState reads what the agent remembers. Its former owner's last transaction
// has ended, and what that owner had written before its last marks stands there.
func (b *rebuilding) readState(ctx context.Context) error {
	if !b.w.cfg.State {
		return nil
	}
	topics := b.topics(func(in input) []string { return []string{in.state} })
	starts, err := b.w.log.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := b.w.log.HighWatermarks(ctx, topics...)
	if err != nil {
		return err
	}
	lanes := make(map[streaming.TopicPartition]*rebuilt)
	var ranges []kafka.Range
	for _, r := range b.all {
		tp := streaming.TopicPartition{Topic: r.in.state, Partition: r.tp.Partition}
		lanes[tp] = r
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: starts[tp], To: ends[tp]})
	}
	return b.w.log.Scan(ctx, ranges, func(rec streaming.Record) {
		lanes[streaming.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}].lane.RecallState(&rec)
	})
}

func (b *rebuilding) topics(of func(input) []string) []string {
	seen := make(map[string]bool)
	var topics []string
	for _, r := range b.all {
		for _, t := range of(r.in) {
			if !seen[t] {
				seen[t] = true
				topics = append(topics, t)
			}
		}
	}
	return topics
}
