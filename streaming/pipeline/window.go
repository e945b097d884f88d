package pipeline

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
