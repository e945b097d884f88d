package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// At least once, nothing in Kafka stops a former owner of a lane from appending
// to its ledger: what it writes behind the new owner's claim is void, and it
// cannot know from the acknowledgement. But its own records stand without a gap,
// and the claim is in the gap. So a lane notes each offset between its records,
// and before the result of a step counts as stored it has read what stands there.
//
// Exactly once, the transaction that stores a step checks the generation.

// errRival says that somebody else has claimed the lane.
var errRival = fmt.Errorf("the partition has a new owner: %w", context.Canceled)

// appended notes the offset of a record of ours in the ledger, in order.
func (l *Lane) appended(offset int64) {
	if l.cfg.Atomic != nil {
		return
	}
	for at := l.ledgerNext; at < offset; at++ {
		l.foreign = append(l.foreign, at)
	}
	l.ledgerNext = offset + 1
}

// unrivalled tells whether nobody has claimed the lane below the last record
// that it has appended to its ledger. If somebody has, the lane is lost.
func (l *Lane) unrivalled(done func(error)) {
	if len(l.foreign) == 0 {
		done(nil)
		return
	}
	foreign := slices.Clone(l.foreign)
	go func() {
		err := l.readForeign(foreign)
		l.post(func() {
			switch {
			case errors.Is(err, errRival):
				l.lose()
			case err == nil:
				l.foreign = slices.DeleteFunc(l.foreign, func(at int64) bool { return slices.Contains(foreign, at) })
			}
			done(err)
		})
	}()
}

func (l *Lane) readForeign(offsets []int64) error {
	for _, at := range offsets {
		marks, err := l.loadMarks(l.ctx, at)
		if _, bad := schemas.ErrorReason(err); err != nil && !bad && !errors.Is(err, streaming.ErrNoRecord) {
			return &unavailableError{err}
		}
		for _, m := range marks {
			if m.Kind == streaming.MarkClaim && m.Epoch > l.epoch {
				return errRival
			}
		}
	}
	return nil
}

// lose ends the lane's work without a word from the group: nothing more of it is
// sent or settled.
func (l *Lane) lose() {
	l.closing = true
	l.mu.Lock()
	l.lost = true
	l.mu.Unlock()
	l.cancel()
	l.post(func() {})
}
