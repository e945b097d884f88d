package worker

import (
	"context"
	"errors"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

const (
	commitTimeout = 10 * time.Second
	// checkpointInterval is how often a lane's offsets are copied to its ledger,
	// all offsets are committed anew and what is settled is trimmed. A group's
	// offsets in topics that no member subscribes to, as the tiers, expire
	// offsets.retention.minutes after their last commit (KIP-211): it must be
	// well below that.
	checkpointInterval = time.Minute
)

// checkpoint is one that stands in the ledger.
type checkpoint struct {
	offset int64
	at     time.Time // no mark that stands before it is younger
	ends   map[string]int64
}

// commit commits the watermarks of lanes that are still owned: those that have
// moved, or all.
func (w *Worker) commit(ctx context.Context, some []*owned, all bool) {
	w.committing.Lock()
	defer w.committing.Unlock()
	offsets := make(map[streaming.TopicPartition]int64)
	taken := make(map[*owned][]int64)
	for _, o := range some {
		if o.released.Load() {
			continue // somebody else's by now: a member that has joined again would be let through
		}
		at := o.lane.Positions().Commit
		for i, tp := range o.logs() {
			if all || i >= len(o.committed) || o.committed[i] != at[i] {
				offsets[tp] = at[i]
			}
		}
		taken[o] = at
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err := w.member.Commit(ctx, offsets)
	switch {
	case err == nil:
		for o, at := range taken {
			o.committed = at
		}
	case errors.Is(err, kafka.ErrFenced), ctx.Err() != nil:
		w.cfg.Logger.Debug("offsets not committed; tried again", "error", err)
	default:
		w.cfg.Logger.Warn("offsets not committed; tried again", "error", err)
	}
}

func (w *Worker) checkpoint(open []*owned) {
	w.committing.Lock()
	defer w.committing.Unlock()
	for _, o := range open {
		if o.committed == nil {
			continue
		}
		committed := make(map[string]int64)
		for i, tp := range o.logs() {
			committed[tp.Topic] = o.committed[i]
		}
		o.lane.Checkpoint(committed, func(offset int64, ends map[string]int64) {
			w.committing.Lock()
			defer w.committing.Unlock()
			o.checkpoints = append(o.checkpoints, checkpoint{offset: offset, at: w.cfg.Clock.Now(), ends: ends})
		})
	}
}

// trim deletes what is settled: tier records below the committed offset, and
// marks that are older than a checkpoint whose log ends are all committed and
// older than the ledger's effective window, the smaller of a time and a size
// (rule O3). Results of steps that are needed
// still are carried forward, and the ledger is trimmed up to the first that is
// not yet; the rest follows the next time.
func (w *Worker) trim(ctx context.Context, open []*owned) {
	w.committing.Lock()
	defer w.committing.Unlock()
	below := make(map[streaming.TopicPartition]int64)
	for _, o := range open {
		if o.committed == nil {
			continue
		}
		for i, tp := range o.logs() {
			if i > 0 && o.committed[i] > 0 && tp.Topic != o.in.dead { // dead letters are kept
				below[tp] = o.committed[i]
			}
		}
		o.carryWaiting(w.cfg.Clock.Now().Add(-w.cfg.LedgerWindow))
		if at, ok := o.trimmable(o.facts.Since()); ok {
			floor := o.lane.StepFloor()
			if floor < at {
				o.lane.CarrySteps(at)
			}
			below[streaming.TopicPartition{Topic: o.in.ledger, Partition: o.tp.Partition}] = min(at, floor)
		}
	}
	if err := w.log.Trim(ctx, below); err != nil && ctx.Err() == nil {
		w.cfg.Logger.Warn("settled records are not trimmed; they take space only", "error", err)
	}
}

// carryWaiting carries forward what has waited in a tier since before that time:
// once per window, so that nothing keeps the ledger from being trimmed.
func (o *owned) carryWaiting(before time.Time) {
	for i := len(o.checkpoints) - 1; i >= 0; i-- {
		c := o.checkpoints[i]
		if !c.at.Before(before) {
			continue
		}
		for log, topic := range o.in.tiers {
			if log++; o.committed[log] < c.ends[topic] {
				o.lane.CarryWaiting(log, c.ends[topic])
			}
		}
		return
	}
}

// trimmable is the ledger offset below which no mark is needed any more: that
// of the newest checkpoint that is older than the window and whose ends are all
// committed. The checkpoint itself stays.
func (o *owned) trimmable(before time.Time) (int64, bool) {
	for i := len(o.checkpoints) - 1; i >= 0; i-- {
		c := o.checkpoints[i]
		if c.at.Before(before) && o.passed(c.ends) {
			o.checkpoints = o.checkpoints[i:]
			return c.offset, true
		}
	}
	return 0, false
}

// passed reports whether all logs are committed up to these ends. No mark is
// needed for what a dead letter has become: its notes and the next dead letter
// stand beside it.
func (o *owned) passed(ends map[string]int64) bool {
	for i, tp := range o.logs() {
		if tp.Topic != o.in.dead && o.committed[i] < ends[tp.Topic] {
			return false
		}
	}
	return true
}
