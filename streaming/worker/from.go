package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// From is where a group begins to read a stream that it has never read.
type From string

// The places. The zero value is FromStart.
const (
	FromStart From = "start" // with all that the stream still holds
	FromEnd   From = "end"   // with what comes after the group's first start
)

func (f From) validate() error {
	switch f {
	case "", FromStart, FromEnd:
		return nil
	}
	return fmt.Errorf("from %q: use start or end", f)
}

// fixEnds makes a group that has never read a stream begin at its end. The end of
// each partition is committed before the worker joins the group, and while nobody is
// in it: so it is fixed once, for whichever member gets the partition, however often
// the first ones crash, and what is appended after a member is in the group is read.
func (w *Worker) fixEnds(ctx context.Context) error {
	if w.cfg.From != FromEnd {
		return nil
	}
	ends := make(map[streaming.TopicPartition]int64)
	for _, in := range w.inputs {
		if in.inbox {
			continue // what was sent to the agent is for it
		}
		of, err := w.log.EndOffsets(ctx, in.topic)
		if err != nil {
			return err
		}
		fresh, err := w.neverRead(ctx, in, of)
		if err != nil {
			return err
		}
		if fresh {
			for tp, end := range of {
				ends[tp] = end
			}
		}
	}
	if len(ends) == 0 {
		return nil
	}
	err := w.log.CommitFor(ctx, w.cfg.Group, ends)
	if errors.Is(err, kafka.ErrGroupAtWork) {
		// A member that came first has fixed the ends; or the stream is new to a group
		// that works already, and is read from its start: of its end nobody can say when.
		w.cfg.Logger.Info("the group is at work: where it begins is its members' to say", "group", w.cfg.Group)
		return nil
	}
	if err == nil {
		w.cfg.Logger.Info("the group begins at the end of what it has never read", "group", w.cfg.Group, "from", ends)
	}
	return err
}

// neverRead reports whether the group has neither an offset in a topic nor a mark in
// its ledger. Offsets alone expire.
func (w *Worker) neverRead(ctx context.Context, in input, partitions map[streaming.TopicPartition]int64) (bool, error) {
	var tps []streaming.TopicPartition
	for tp := range partitions {
		tps = append(tps, tp)
	}
	committed, err := w.log.CommittedOf(ctx, w.cfg.Group, tps)
	if err != nil || len(committed) > 0 {
		return false, err
	}
	marks, err := w.log.HighWatermarks(ctx, in.ledger)
	if err != nil {
		return false, err
	}
	for _, end := range marks {
		if end > 0 {
			return false, nil
		}
	}
	return true, nil
}
