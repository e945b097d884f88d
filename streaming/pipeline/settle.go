package pipeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// unavailablePause is how long a message waits before it is looked at again
// when what it needs cannot be reached.
const unavailablePause = time.Second

// settle brings a finished attempt to its end: outputs acknowledged, then the
// mark; or the next copy acknowledged.
func (l *Lane) settle(c *lane.Copy, m *message, a attempted) {
	if a.ran {
		reason := streaming.Reason("")
		if a.err != nil {
			reason = reasonOf(a.err)
		}
		l.cfg.Observer.Processed(reason, a.took)
	}
	var unavailable *unavailableError
	switch {
	case a.err == nil:
		l.sendOutputs(c, m, a)
	case l.cancelled():
		l.machine.GiveBack(c) // ended by us, not by the message
	case errors.As(a.err, &unavailable):
		l.cfg.Logger.Warn("message waits", "topic", m.rec.Topic, "error", a.err)
		l.machine.Later(c, l.cfg.Clock.Now().Add(unavailablePause))
	default:
		l.failed(c, m, a)
	}
}

// sendOutputs appends what the handler staged; when all of it is acknowledged
// the message is marked done.
func (l *Lane) sendOutputs(c *lane.Copy, m *message, a attempted) {
	waiting := len(a.outputs)
	if a.ack != nil {
		waiting++
	}
	if waiting == 0 {
		l.markDone(c, m)
		return
	}
	var refused error
	acked := func(rec *streaming.Record, optional bool) func(int64, error) {
		return func(_ int64, err error) {
			switch {
			case err == nil:
				l.cfg.Observer.Sent(rec.Topic, 1)
			case optional && isRefusal(err):
				l.cfg.Logger.Info("ack not sent", "topic", rec.Topic, "error", err)
			default:
				refused = fmt.Errorf("send to %s: %w", rec.Topic, err)
			}
			if waiting--; waiting > 0 {
				return
			}
			switch {
			case refused == nil:
				l.markDone(c, m)
			case errors.Is(refused, streaming.ErrRecordTooLarge):
				l.failed(c, m, attempted{err: streaming.DeadLetter(streaming.ReasonTooLarge, refused), ran: true})
			case isRefusal(refused):
				l.failed(c, m, attempted{err: refused, ran: true})
			default:
				l.fail(refused)
			}
		}
	}
	for _, out := range a.outputs {
		l.append(out, acked(out, false))
	}
	if a.ack != nil {
		l.append(a.ack, acked(a.ack, true))
	}
}

// isRefusal reports whether an append failed because of its record.
func isRefusal(err error) bool {
	return errors.Is(err, streaming.ErrRecordTooLarge) || errors.Is(err, streaming.ErrUnknownTopic)
}

func (l *Lane) markDone(c *lane.Copy, m *message) {
	now := l.cfg.Clock.Now()
	attempts := c.Attempts + 1
	l.mark(streaming.Mark{
		Kind: streaming.MarkDone, ID: c.ID, Moves: c.Moves, Attempts: attempts, Log: l.logName(c.Log),
		Offset: c.Offset, Origin: c.Origin, Epoch: l.epoch, Time: now,
	}, func(int64) {
		l.ended(c)
		l.machine.Done(c)
		sent := m.env.Time
		if sent.IsZero() {
			sent = m.hop.Origin.Timestamp
		}
		l.cfg.Observer.EndToEnd(now.Sub(sent))
		if c.Barrier {
			l.cfg.OnStop()
		}
	})
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
	if v.Tier == 0 {
		c.Attempts = attempts
		l.machine.Later(c, due)
		return
	}
	l.cfg.Logger.Debug("retry", "agent", l.cfg.Agent, "type", m.env.Type, "id", m.env.ID, "attempt", attempts,
		"delay", v.Delay, "reason", v.Reason, "error", a.err)
	hop := streaming.Hop{
		Attempt: attempts, Moves: c.Moves + 1, Due: ceilMilli(due), Origin: m.hop.Origin,
		Reason: v.Reason, Error: a.err.Error(),
	}
	l.move(c, m, lane.Log(v.Tier), &hop, func() { l.cfg.Observer.Retrying(v.Reason) })
}

// postpone moves a scheduled message to the largest tier that its wait fills.
// No attempt is counted.
func (l *Lane) postpone(c *lane.Copy, m *message, until time.Time) {
	tier := lane.Log(l.cfg.Policy.Tier(until.Sub(l.cfg.Clock.Now())))
	if tier == lane.Input || tier <= c.Log {
		l.machine.Later(c, until)
		return
	}
	hop := streaming.Hop{Attempt: c.Attempts, Moves: c.Moves + 1, Due: ceilMilli(until), Origin: m.hop.Origin}
	l.move(c, m, tier, &hop, func() {})
}

// queueBehind moves a message off the input log behind its key's blocker:
// without a due time of its own and without an attempt.
func (l *Lane) queueBehind(c *lane.Copy, m *message, tier lane.Log) {
	hop := streaming.Hop{Attempt: c.Attempts, Moves: c.Moves + 1, Origin: m.hop.Origin}
	l.move(c, m, tier, &hop, func() {})
}

// move appends the next copy of a message to a tier. The append is the mark.
func (l *Lane) move(c *lane.Copy, m *message, tier lane.Log, hop *streaming.Hop, moved func()) {
	rec := m.copyRecord(l.logTopic(tier), hop)
	l.append(rec, func(offset int64, err error) {
		if errors.Is(err, streaming.ErrRecordTooLarge) {
			l.kill(c, m, streaming.ReasonTooLarge, hop.Attempt, err)
			return
		}
		if err != nil {
			l.fail(fmt.Errorf("append to %s: %w", rec.Topic, err))
			return
		}
		next := (&message{rec: m.rec, env: m.env, hop: *hop, bad: m.bad}).asCopy(tier, offset)
		next.Key, next.Origin = c.Key, c.Origin
		if l.machine.Held() >= l.cfg.MaxHeld {
			next.Payload = nil
		}
		l.ended(c)
		l.machine.Moved(c, next)
		moved()
	})
}

// kill appends the dead letter, then its mark.
func (l *Lane) kill(c *lane.Copy, m *message, reason streaming.Reason, attempts int, cause error) {
	l.cfg.Logger.Warn("dead letter", "agent", l.cfg.Agent, "topic", l.cfg.Topic, "type", m.env.Type, "id", m.env.ID,
		"attempts", attempts, "reason", reason, "error", cause)
	hop := streaming.Hop{
		Attempt: attempts, Moves: c.Moves + 1, Origin: m.hop.Origin, Reason: reason, Error: reasonText(cause),
	}
	rec := m.copyRecord(l.cfg.DeadLetterTopic, &hop)
	l.append(rec, func(offset int64, err error) {
		if err != nil {
			l.fail(fmt.Errorf("append to %s: %w", rec.Topic, err))
			return
		}
		l.deadEnd = max(l.deadEnd, offset+1)
		l.mark(streaming.Mark{
			Kind: streaming.MarkDead, ID: c.ID, Moves: c.Moves + 1, Attempts: attempts, Log: l.logName(c.Log),
			Offset: c.Offset, Origin: c.Origin, Epoch: l.epoch, Time: l.cfg.Clock.Now(),
		}, func(int64) {
			l.ended(c)
			l.machine.Dead(c)
			l.cfg.Observer.DeadLettered(reason)
		})
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
