package streamtest_test

const (
	pipelineConclude = "streaming/pipeline/conclude.go"
	pipelineLane     = "streaming/pipeline/loop.go"
	pipelineSettle   = "streaming/pipeline/settle.go"
	pipelineCaused   = "streaming/pipeline/caused.go"
	laneNext         = "streaming/lane/next.go"
	laneOffsets      = "streaming/lane/offsets.go"
	laneQueue        = "streaming/lane/queue.go"
	workerRebuild    = "streaming/worker/rebuild.go"
	workerTx         = "streaming/worker/transactions.go"
	kafkaClient      = "streaming/kafka/client.go"
	kafkaTransactor  = "streaming/kafka/transactor.go"
)

// mutants are one defect for each class of violation, and more.
var mutants = []mutant{
	{"mark before the handler", []patch{{
		pipelineLane, "func (l *Lane) run(c *lane.Copy, m *message) {\n",
		`func (l *Lane) run(c *lane.Copy, m *message) {
	l.staged = append(l.staged, &conclusion{
		mark: &streaming.Mark{
			Kind: streaming.MarkDone, ID: c.ID, Moves: c.Moves, Attempts: c.Attempts + 1, Log: l.logName(c.Log),
			Offset: c.Offset, Origin: c.Origin, Epoch: l.epoch, Time: l.cfg.Clock.Now(),
		},
		settled: func([]int64, int64) {},
	})
`,
	}}},
	{"mark before the outputs", []patch{{
		pipelineConclude, "	c.waiting = len(c.recs)\n",
		`	if recs, done := c.recs, c.done; done != nil {
		mark := l.doneMark(done)
		l.staged = append(l.staged, &conclusion{mark: &mark, settled: func([]int64, int64) {
			for _, rec := range recs {
				l.append(rec, ackedFunc(func(int64, error) {}))
			}
			l.finish(done)
		}})
		return
	}
	c.waiting = len(c.recs)
`,
	}}},
	{"watermark past a gap", []patch{{
		laneOffsets, "	if len(o.known) > 0 && o.known[0].offset < o.next {\n", "	if len(o.known) > 0 && o.known[0].offset < o.next-3 {\n",
	}}},
	{"tiers committed as read", []patch{{
		pipelineLane, "	commit := l.watermarks()\n",
		`	commit := l.watermarks()
	for i := range commit[1:] {
		commit[i+1] = l.machine.Position(lane.Log(i + 1))
	}
`,
	}}},
	{"the ledger is not asked", []patch{{
		laneNext, "ok && f.ends(c) {", "ok && f.ends(c) && c.Moves > 1000 {",
	}}},
	{"the ledger is not read", []patch{{
		workerRebuild, "	r.lane.RecallMark(m, offset)\n", "",
	}}},
	{"a retry behind its followers", []patch{{
		laneQueue, "	return a.Origin < b.Origin || a.Origin == b.Origin && a.Moves > b.Moves\n", "	return a.Origin == b.Origin && a.Moves > b.Moves\n",
	}}},
	{"early delivery", []patch{{
		laneNext, "wait > 0 {", "wait > 100*time.Millisecond {",
	}}},
	{"dead letters without a mark, not read", []patch{
		{workerRebuild, "			p.r.lane.RecallDead(rec)\n", ""},
		{pipelineConclude, "	if l.cfg.Atomic != nil || len(c.recs) == 0 {\n", "	if c.mark != nil && c.mark.Kind == streaming.MarkDead {\n		c.mark = nil\n	}\n	if l.cfg.Atomic != nil || len(c.recs) == 0 {\n"},
	}},
	{"lost lanes in a transaction", []patch{
		{workerTx, "	ts.staged = slices.DeleteFunc(ts.staged, func(a *atomicWrite) bool { return a.o.released.Load() })\n", "	ts.staged = slices.DeleteFunc(ts.staged, func(*atomicWrite) bool { return false })\n"},
		{workerTx, "		if a.o.released.Load() {\n", "		if a.o == nil {\n"},
		{workerTx, "			if o.released.Load() {\n", "			if o == nil {\n"},
	}},
	{"outputs outside the transaction", []patch{{
		pipelineConclude, "	for _, c := range batch {\n		recs = append(recs, c.recs...)\n	}\n",
		`	for _, c := range batch {
		if c.done != nil {
			for _, rec := range c.recs {
				l.cfg.Log.Append(rec, func(int64, error) {})
			}
			c.recs = nil
		}
		recs = append(recs, c.recs...)
	}
`,
	}}},
	{"aborted records are read", []patch{{
		kafkaClient, "		kgo.FetchIsolationLevel(kgo.ReadCommitted()),\n", "		kgo.FetchIsolationLevel(kgo.ReadUncommitted()),\n",
	}}},
	{"output IDs are drawn", []patch{{
		pipelineCaused, "	env.ID = schemas.DerivedID(m.env.Source, m.env.ID, l.cfg.Group, position)\n", "	env.ID = schemas.NewID()\n	_ = position\n",
	}}},
	{"attempts are not kept", []patch{{
		pipelineSettle, "		Attempt: attempts, Moves: c.Moves + 1, Due: ceilMilli(due)", "		Attempt: attempts - 1, Moves: c.Moves + 1, Due: ceilMilli(due)",
	}}},
}
