package pipeline

import (
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// observeWindow reports the ledger's effective window: the smaller of its bounds
// in time and in size. A window that the size has cut is said once, as it means
// that duplicates are recognised for a shorter time than was asked for.
func (l *Lane) observeWindow() {
	reach := min(l.cfg.Facts.Reach(), l.cfg.Facts.Span)
	cut := reach < l.cfg.Facts.Span
	if cut && !l.cut {
		l.cfg.Logger.Warn("the ledger's bound in size cuts its window: duplicates are recognised for a shorter time than configured",
			"topic", l.cfg.Topic, "partition", l.cfg.Partition, "messages", l.cfg.Facts.Size, "window", l.cfg.Facts.Span, "effective", reach)
	}
	l.cut = cut
	l.cfg.Observer.LedgerWindow(l.cfg.Partition, reach, l.cfg.Facts.Span)
}

// needed reports whether a fact may not be forgotten yet: a copy of its message
// waits, or its own record is not below the watermark and may be read again.
func (l *Lane) needed(id streaming.MessageID, origin int64) bool {
	return l.machine.Waits(id) || origin >= l.machine.Watermark(lane.Input)
}

// isOverfull reports whether so many marks stand above the watermark that the
// ledger's window cannot hold them: the input pauses until what holds the watermark
// is settled. Without that, one slow message would make memory grow without bound.
func (l *Lane) isOverfull() bool {
	return l.cfg.Facts.Over() > l.cfg.MaxPending && l.machine.Unsettled(lane.Input) > 0
}
