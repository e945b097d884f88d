package pipeline

import (
	"errors"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// settle brings a finished attempt to its end: outputs acknowledged, then the
// mark; or the next copy acknowledged.
func (l *Lane) settle(a *attempt) {
	if a.ran {
		reason := streaming.Reason("")
		if a.err != nil {
			reason = reasonOf(a.err)
		}
		l.cfg.Observer.Processed(reason, a.took)
	}
	if a.err == nil {
		l.cfg.Breaker.Available()
		l.succeeded(a)
		return
	}
	l.kept.settle(a.state, false)
	var unavailable *streaming.UnavailableError
	switch {
	case l.cancelled():
		l.machine.GiveBack(a.c) // ended by us, not by the message
	case errors.Is(a.err, streaming.ErrFenced):
		l.machine.Later(a.c, l.cfg.Clock.Now().Add(fencedPause))
		l.cfg.OnFenced()
	case errors.As(a.err, &unavailable):
		until := l.cfg.Breaker.Unavailable(l.cfg.Clock.Now())
		l.cfg.Logger.Warn("the agent pauses", "agent", l.cfg.Agent, "until", until, "error", a.err)
		l.cameBack(a.c)
		l.machine.Later(a.c, until)
	default:
		l.cfg.Breaker.Available()
		l.failed(a.c, a.m, a.attempted)
	}
}

// fencedPause is how long a message of a lane waits that a later owner may have:
// until then this worker is told so, or the lane is rebuilt.
const fencedPause = 5 * time.Second

// succeeded sends what the handler staged and marks the message done.
func (l *Lane) succeeded(a *attempt) {
	a.answer = l.answerOf(a)
	a.conclusion = conclusion{recs: a.outputs, leading: a.changes, copy: a.c, done: a}
	if a.ack != nil {
		a.conclusion.recs = append(a.conclusion.recs, a.ack)
	}
	l.conclude(&a.conclusion)
}

// doneMark is the mark of a message done.
func (l *Lane) doneMark(a *attempt) streaming.Mark {
	c := a.c
	return streaming.Mark{
		Kind: streaming.MarkDone, ID: c.ID, Moves: c.Moves, Attempts: c.Attempts + 1, Log: l.logName(c.Log),
		Offset: c.Offset, Origin: c.Origin, Epoch: l.epoch, Time: a.ended,
	}
}

// finish tells that the outputs and the mark of a message are durable.
func (l *Lane) finish(a *attempt, ledger int64) {
	c := a.c
	l.ended(c)
	l.machine.Done(c)
	if len(l.refusing) > 0 {
		delete(l.refusing, c.Key)
	}
	l.kept.settle(a.state, true)
	if len(a.answer) > 0 {
		l.cfg.Facts.Keep(c.ID, ledger)
	}
	l.steps.drop(c.ID)
	for i, rec := range a.conclusion.recs {
		if rec.Topic != l.cfg.StateTopic && !a.conclusion.isUnsent(i) {
			l.cfg.Observer.Sent(rec.Topic, 1)
		}
	}
	sent := a.m.env.Time
	if sent.IsZero() {
		sent = a.m.origin().Timestamp
	}
	l.cfg.Observer.EndToEnd(l.now.Sub(sent))
	if a.settled != nil {
		a.settled()
	}
	if c.Barrier {
		l.cfg.OnStop()
	}
}

// outputRefused fails a message one of whose outputs can never be written.
func (l *Lane) outputRefused(a *attempt, err error) {
	if errors.Is(err, streaming.ErrRecordTooLarge) {
		err = streaming.DeadLetter(streaming.ReasonTooLarge, err)
	}
	l.kept.settle(a.state, false)
	l.failed(a.c, a.m, attempted{err: err, ran: true})
}

// failed moves a message to the tier that the policy names, or to the
// dead-letter topic.
func (l *Lane) failed(c *lane.Copy, m *message, a attempted) {
	attempts := c.Attempts
	if a.ran {
		attempts++
	}
	v := l.cfg.Policy.Judge(attempts, a.err)
	v.Reason = reasonOf(a.err)
	if v.Dead {
		l.kill(c, m, v.Reason, attempts, a.err)
		return
	}
	due := l.cfg.Clock.Now().Add(v.Delay)
	l.cfg.Logger.Debug("retry", "agent", l.cfg.Agent, "type", m.env.Type, "id", m.env.ID, "attempt", attempts,
		"delay", v.Delay, "reason", v.Reason, "error", a.err)
	hop := streaming.Hop{
		Attempt: attempts, Moves: c.Moves + 1, Due: ceilMilli(due), Origin: m.origin(),
		Reason: v.Reason, Error: a.err.Error(),
	}
	l.move(c, m, lane.Log(v.Tier), &hop, func() { l.cfg.Observer.Retrying(v.Reason) })
}

// queueBehind moves a message off the input log: behind its key's blocker,
// without a due time of its own, or with it to wait until it is due. No attempt is
// counted.
func (l *Lane) queueBehind(c *lane.Copy, m *message, tier lane.Log) {
	hop := streaming.Hop{Attempt: c.Attempts, Moves: c.Moves + 1, Origin: m.origin()}
	if c.Scheduled {
		hop.Due = ceilMilli(c.Due)
	}
	l.move(c, m, tier, &hop, func() {})
}

// move appends the next copy of a message to a tier. The append is the mark.
func (l *Lane) move(c *lane.Copy, m *message, tier lane.Log, hop *streaming.Hop, moved func()) {
	l.conclude(&conclusion{
		copy: c,
		recs: []*streaming.Record{m.copyRecord(l.logTopic(tier), hop)},
		settled: func(offsets []int64, _ int64) {
			waiting := &message{rec: m.rec, env: m.env, hop: hop, bad: m.bad}
			next := waiting.asCopy(new(lane.Copy), tier, offsets[0])
			next.Key, next.Origin = c.Key, c.Origin
			if l.keeps(next) {
				rec := m.rec.Clone() // it may wait long, and would keep all that was fetched with it in memory
				waiting.rec = &rec
			} else {
				next.Payload = nil
			}
			l.ended(c)
			l.machine.Moved(c, next)
			moved()
		},
		refused: func(err error) {
			if errors.Is(err, streaming.ErrRecordTooLarge) {
				l.kill(c, m, streaming.ReasonTooLarge, hop.Attempt, err)
				return
			}
			l.fail(err)
		},
	})
}

// kill writes the dead letter and its mark, and tells who has asked.
func (l *Lane) kill(c *lane.Copy, m *message, reason streaming.Reason, attempts int, cause error) {
	l.cfg.Logger.Warn("dead letter", "agent", l.cfg.Agent, "topic", l.cfg.Topic, "type", m.env.Type, "id", m.env.ID,
		"attempts", attempts, "reason", reason, "error", cause)
	hop := streaming.Hop{
		Attempt: attempts, Moves: c.Moves + 1, Origin: m.origin(), Reason: reason, Error: reasonText(cause),
	}
	recs := []*streaming.Record{m.copyRecord(l.cfg.DeadLetterTopic, &hop)}
	reply := l.errorReply(m, reason, cause, l.cfg.Clock.Now())
	if reply != nil {
		recs = append(recs, reply)
	}
	l.conclude(&conclusion{
		copy: c,
		recs: recs,
		mark: &streaming.Mark{
			Kind: streaming.MarkDead, ID: c.ID, Moves: c.Moves + 1, Attempts: attempts, Log: l.logName(c.Log),
			Offset: c.Offset, Origin: c.Origin, Epoch: l.epoch, Time: l.cfg.Clock.Now(),
		},
		settled: func(offsets []int64, _ int64) {
			l.deadEnd = max(l.deadEnd, offsets[0]+1)
			l.buried(c, m, &hop, offsets[0])
			l.steps.shelve(c.ID) // a redrive finds them
			l.cfg.Observer.DeadLettered(reason)
		},
		refused: l.fail,
	})
}

// reasonText is the error as parley-error keeps it: the reason has a header of
// its own.
func reasonText(err error) string {
	var dead *streaming.DeadLetterError
	if errors.As(err, &dead) && dead.Err != nil {
		return dead.Err.Error()
	}
	return err.Error()
}

func unixMilli(ms int64) time.Time { return time.UnixMilli(ms) }

// ceilMilli rounds up, so that a due time is never early.
func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }
