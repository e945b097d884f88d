package streamtest_test

const (
	pipelineConclude = "streaming/pipeline/conclude.go"
	pipelineCut      = "streaming/pipeline/cut.go"
	pipelineLane     = "streaming/pipeline/loop.go"
	pipelineSettle   = "streaming/pipeline/settle.go"
	pipelineCaused   = "streaming/pipeline/caused.go"
	laneNext         = "streaming/lane/next.go"
	laneOffsets      = "streaming/lane/offsets.go"
	laneHold         = "streaming/lane/hold.go"
	laneQueue        = "streaming/lane/queue.go"
	laneTwins        = "streaming/lane/twins.go"
	workerRebuild    = "streaming/worker/rebuild.go"
	workerTx         = "streaming/worker/transactions.go"
	kafkaClient      = "streaming/kafka/client.go"
	kafkaTransactor  = "streaming/kafka/transactor.go"
	pipelineSchedule = "streaming/pipeline/schedule.go"
	pipelineAdmit    = "streaming/pipeline/admit.go"
	pipelineRecall   = "streaming/pipeline/recall.go"
	pipelineSteps    = "streaming/pipeline/steps.go"
	pipelineDecode   = "streaming/pipeline/decode.go"
	workerControl    = "streaming/worker/control.go"
	workerCommit     = "streaming/worker/commit.go"
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
		pipelineConclude, "	c.offsets = c.one[:]\n",
		`	if recs, done := c.recs, c.done; done != nil {
		mark := l.doneMark(done)
		l.staged = append(l.staged, &conclusion{mark: &mark, settled: func(_ []int64, ledger int64) {
			for _, rec := range recs {
				l.append(rec, ackedFunc(func(int64, error) {}))
			}
			l.finish(done, ledger)
		}})
		return
	}
	c.offsets = c.one[:]
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
		laneNext, "ok && m.ends(f, c) {", "ok && m.ends(f, c) && c.Moves > 1000 {",
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
		{pipelineConclude, "	switch {\n	case l.cfg.Atomic != nil:\n", "	if c.mark != nil && c.mark.Kind == streaming.MarkDead {\n		c.mark = nil\n	}\n	switch {\n	case l.cfg.Atomic != nil:\n"},
	}},
	{"lost lanes in a transaction", []patch{
		{workerTx, "	ts.staged = slices.DeleteFunc(ts.staged, func(a *atomicWrite) bool { return a.o.released.Load() })\n", "	ts.staged = slices.DeleteFunc(ts.staged, func(*atomicWrite) bool { return false })\n"},
		{workerTx, "		if a.o.released.Load() {\n", "		if a.o == nil {\n"},
		{workerTx, "			if o.released.Load() {\n", "			if o == nil {\n"},
	}},
	{"outputs outside the transaction", []patch{{
		pipelineCut, "	for _, c := range batch {\n		recs = append(recs, c.recs...)\n	}\n",
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
	{"a scheduled message is early", []patch{{
		pipelineSchedule, "	c.Due = at\n", "	c.Due = at.Add(-100 * time.Millisecond)\n",
	}}},
	{"what has expired is handled", []patch{{
		pipelineAdmit, "!m.env.Expiry.IsZero() && now", "m.env.Expiry.IsZero() && now",
	}}},
	{"no fence", []patch{{
		kafkaTransactor, "	req.MemberID, req.Generation = m.MemberID, m.Generation\n", "	req.Generation = -1\n",
	}, {
		kafkaTransactor, "	if m.none() {\n", "	if m.none() && t == nil {\n",
	}}},
	{"a refused commit of offsets does not abort", []patch{{
		kafkaTransactor, "	if err := t.commitOffsets(ctx, m, commit); err != nil {\n", "	if err := t.commitOffsets(ctx, m, commit); err != nil && !fenced(err) && !errors.Is(err, ErrFenced) {\n",
	}}},
	{"a fenced producer is kept", []patch{{
		kafkaTransactor, "	err := t.renew()\n",
		`	err := t.client.AbortBufferedRecords(ctx)
	if err == nil {
		err = t.client.EndTransaction(ctx, kgo.TryAbort)
	}
`,
	}}},
	{"two copies of a message run at once", []patch{{
		laneNext, "if head.hasBusyTwin() {", "if head.hasBusyTwin() && now.IsZero() {",
	}}},
	{"a duplicate does not wait for what is staged", []patch{{
		laneTwins, "t.state == busy || t.state == staged", "t.state == busy",
	}}},
	{"the next of a key before its predecessor is staged", []patch{{
		laneNext, "q.busy == 0 { // H1, the key", "(q.busy == 0 || q.copies[0].state == busy) { // H1, the key",
	}, {
		laneNext, "		head := q.copies[0]\n", "		head := q.copies[0]\n		if head.state == busy && len(q.copies) > 1 {\n			head = q.copies[1]\n		}\n",
	}}},
	{"what follows a refused message stands", []patch{{
		pipelineConclude, "	l.staged = append(again, slices.DeleteFunc(l.staged, undone)...)\n", "	l.staged = append(again, l.staged...)\n",
	}, {
		pipelineConclude, "		if undone(c) {\n", "		if undone(c) && c == nil {\n",
	}}},
	{"steps are not read again", []patch{{
		pipelineRecall, "			l.steps.recall(m, offset)\n", "			_ = offset\n",
	}}},
	{"a step goes on before its result is durable", []patch{{
		pipelineSteps, "	case err = <-stored:\n", "	case err = <-stored:\n	default:\n",
	}}},
	{"a copy loses a header", []patch{{
		pipelineDecode, "	copy(headers, m.rec.Headers)\n", "	headers = headers[:copy(headers, m.rec.Headers[min(1, len(m.rec.Headers)):])]\n",
	}}},
	{"the ledger is trimmed before the tiers are committed", []patch{{
		workerCommit, "&& o.committed[i] < ends[tp.Topic] {\n", "&& o.committed[i] < ends[tp.Topic]-1000 {\n",
	}, {
		workerCommit, "c.at.Before(before) && ", "",
	}}},
	{"tiers are read from their ends", []patch{{
		workerRebuild, "From: r.positions[i+1], To: ends[tp]}", "From: ends[tp], To: ends[tp]}",
	}}},
	{"a pause is not obeyed", []patch{{
		workerControl, "	paused := w.wanted.Paused\n", "	paused := false\n",
	}}},
	{"a dead letter does not hold its key", []patch{{
		laneHold, "	m.Moved(c, letter)\n", "	_ = letter\n	m.end(c)\n",
	}}},
	{"a retry is a second late", []patch{{
		pipelineSettle, "Add(v.Delay)", "Add(v.Delay + time.Second)",
	}}},
}
