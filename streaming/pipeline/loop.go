package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// loop is the lane's goroutine: it takes what has happened into the state
// machine, does what that decides, and writes what is staged.
func (l *Lane) loop() {
	defer close(l.done)
	defer func() {
		for _, a := range l.runners.stop() {
			a.permit.end(l.cfg.Clock.Now(), false)
		}
	}()
	defer l.cancel()
	defer func() {
		l.turn.rest(l.cfg.Clock.Now(), false)
		l.cfg.Observer.InFlight(-l.machine.Unsettled(lane.Input))
		l.cfg.Observer.InFlightBytes(-l.weighed)
		l.cfg.Memory.join(-1)
		l.cfg.Observer.LaneClosed(l.cfg.Partition)
		l.active.Store(false)
		l.cfg.Alone.leave(l)
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var h happened
	for {
		l.now = l.cfg.Clock.Now()
		h = l.inbox.take(h)
		if l.isLost() {
			return
		}
		l.hear(&h)
		h.reset()
		l.active.Store(true)
		l.decide()
		l.yield()
		l.flush()
		l.rest()
		l.cfg.Facts.Evict(l.needed)
		l.publish()
		if l.closing && l.drained() {
			return
		}
		wait := time.Hour
		if due, ok := l.machine.NextDue(); ok && !l.closing { // nothing is started any more: what is due stays due
			wait = due.Sub(l.cfg.Clock.Now())
		}
		if until, open := l.cfg.Breaker.Until(); open {
			wait = min(wait, max(until.Sub(l.cfg.Clock.Now()), breakerLook))
		}
		if turn, ok := l.turn.wait(l.cfg.Clock.Now()); ok {
			wait = min(wait, turn)
		}
		timer.Reset(wait)
		select {
		case <-l.inbox.wake:
		case <-timer.C:
		}
	}
}

func (l *Lane) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// hear takes what has happened into account.
func (l *Lane) hear(h *happened) {
	for _, event := range h.events {
		event()
	}
	for _, r := range h.receipts {
		l.appends--
		if l.failure == nil {
			r.to.acked(r.offset, r.err)
		}
	}
	for _, a := range h.attempts {
		l.running--
		if l.failure == nil {
			l.settle(a)
		}
	}
	for _, o := range h.offers {
		for i := range o.recs {
			l.read(o.log, &o.recs[i])
		}
		l.heard += o.bytes
		if o.log == lane.Input {
			l.cfg.Observer.Consumed(len(o.recs))
			l.mu.Lock()
			l.queued -= len(o.recs)
			l.mu.Unlock()
		}
	}
}

// read takes one record into the state machine.
func (l *Lane) read(log lane.Log, rec *streaming.Record) {
	if log == lane.Input {
		m, c := l.decodeInput(rec)
		if !l.concerns(m) {
			l.cfg.Observer.Skipped()
			l.machine.Pass(log, rec.Offset)
			return
		}
		c.Barrier = l.cfg.Inbox && m.bad == nil && m.env.Type == schemas.TypeAgentStop
		if !m.env.DeliverAt.IsZero() {
			l.schedule(c, m.env.DeliverAt)
		}
		l.order(c)
		if l.machine.Read(c) != nil {
			l.cfg.Observer.InFlight(1)
		}
		return
	}
	if l.cfg.Hold && log == l.deadLog() {
		l.readDead(*rec)
		return
	}
	_, c := decodeHop(*rec, log)
	l.order(c)
	if !l.keeps(c) {
		c.Payload = nil
	}
	l.machine.Read(c)
}

// decide does what the state machine says until it has nothing more.
func (l *Lane) decide() {
	if l.failure != nil {
		return
	}
	now := l.cfg.Clock.Now()
	l.now = now
	defer l.loadMore() // what was decided may have made room
	for !l.closing {
		d := l.machine.Next(now, l.room(now))
		switch d.Action {
		case lane.None:
			return
		case lane.Drop:
			l.ended(d.Copy)
			if d.Copy.Log == lane.Input && !d.Again {
				l.cfg.Observer.Duplicate()
			}
			if !d.Again {
				l.answerAgain(d.Copy)
			}
		case lane.Defer:
			l.queueBehind(d.Copy, d.Copy.Payload.(*message), d.Tier)
		case lane.Load:
			l.load(d.Copy)
		case lane.Run:
			l.start(d, d.Copy.Payload.(*message), now)
		}
	}
}

// start hands a message to its handler.
func (l *Lane) start(d lane.Decision, m *message, now time.Time) {
	c := d.Copy
	if f := l.unjudged(c, m); f != nil {
		l.running++
		go l.judge(f, c, m)
		return
	}
	if m.bad == nil && m.env.Ack == streaming.AckDelivered && !forwards(l.handler(m)) && c.Moves == 0 && c.Attempts == 0 && !m.acked {
		l.running++
		go l.acknowledge(c, m, now)
		return
	}
	if !l.cfg.Breaker.Start(now) { // another lane probes
		l.machine.GiveBack(c)
		return
	}
	if c.Attempts > 0 {
		l.cfg.Observer.Redelivered()
	}
	if !d.Since.IsZero() && (c.Attempts > 0 || c.Scheduled) {
		l.lateness(d.Since, now)
	}
	l.run(c, m)
}

// acknowledge tells the sender that its message has arrived; then it is its turn
// again.
func (l *Lane) acknowledge(c *lane.Copy, m *message, now time.Time) {
	rec, err := l.ack(l.ctx, m, streaming.AckDelivered, now)
	l.post(func() {
		l.running--
		if err != nil {
			l.settle(&attempt{c: c, m: m, attempted: attempted{err: &streaming.UnavailableError{Err: err}}})
			return
		}
		l.append(rec, ackedFunc(func(_ int64, err error) {
			switch {
			case err == nil:
				l.cfg.Observer.Sent(rec.Topic, 1)
			case !isRefusal(err):
				l.fail(err)
				return
			}
			m.acked = true
			l.machine.GiveBack(c)
		}))
	})
}

func (l *Lane) run(c *lane.Copy, m *message) {
	if l.doubt != nil {
		l.begin(c, m)
		return
	}
	l.launch(c, m)
}

// launch gives a message to a runner.
func (l *Lane) launch(c *lane.Copy, m *message) {
	l.running++
	l.runners.start(&attempt{c: c, m: m, number: c.Attempts + 1, permit: l.turn.use(l.now)})
}

// runAttempt runs a handler, on a runner's goroutine.
func (l *Lane) runAttempt(a *attempt) {
	l.handle(l.ctx, a)
	if a.permit != nil {
		a.permit.end(l.cfg.Clock.Now(), a.ran)
	}
	l.inbox.put(func(h *happened) { h.attempts = append(h.attempts, a) })
}

// append sends a record, if the lane is still owned; to is told on the lane's
// goroutine. What is left of a lost lane is never reported back: nothing of it
// is settled.
func (l *Lane) append(rec *streaming.Record, to acked) {
	if l.isLost() {
		return
	}
	l.appends++
	l.cfg.Log.Append(rec, func(offset int64, err error) {
		l.inbox.put(func(h *happened) { h.receipts = append(h.receipts, receipt{to, offset, err}) })
	})
}

// fail ends the lane's work: what is not settled stays unsettled.
func (l *Lane) fail(err error) {
	if l.failure != nil {
		return
	}
	l.failure = err
	l.closing = true
	l.staged = nil
	l.cancel() // what a handler still does cannot be settled
	l.cfg.OnFail(err)
}

func (l *Lane) cancelled() bool { return errors.Is(l.ctx.Err(), context.Canceled) }

// ended keeps the gauges and the room for values in step when a copy ends.
func (l *Lane) ended(c *lane.Copy) {
	if c.Log == lane.Input {
		l.cfg.Observer.InFlight(-1)
		return
	}
	if l.loads.loaded[c] {
		l.unload(c)
	}
}

func (l *Lane) publish() {
	commit := l.watermarks()
	p := Positions{
		Commit:  commit,
		Pending: l.machine.Unsettled(lane.Input) + len(l.answering),
		Running: l.running,
		Idle:    l.machine.Live() == 0 && l.running == 0 && len(l.answering) == 0 && l.appends == 0 && len(l.staged) == 0,
	}
	crowded := l.isCrowded() || l.isOverfull()
	bytes, half := l.weigh(), l.cfg.Memory.half()
	l.mu.Lock()
	l.state = p
	l.bytes = bytes
	l.queuedBytes -= l.heard
	l.heard = 0
	l.crowded = crowded
	room := l.full && !crowded && l.queued+p.Pending <= l.cfg.MaxPending*3/4 && l.queuedBytes+bytes <= half/4*3
	if room {
		l.full = false
	}
	l.mu.Unlock()
	if room {
		l.cfg.OnRoom()
	}
}

// watermarks returns how far each log may be committed: the same slice while
// nothing has moved, as others may hold it.
func (l *Lane) watermarks() []int64 {
	same := len(l.commit) > 0
	for i := range l.commit {
		same = same && l.commit[i] == l.watermark(lane.Log(i))
	}
	if same {
		return l.commit
	}
	commit := make([]int64, l.logs())
	for i := range commit {
		commit[i] = l.watermark(lane.Log(i))
	}
	l.commit = commit
	return commit
}

// oldest is the timestamp of the oldest unsettled input record, or zero.
func (l *Lane) oldest() time.Time {
	if c := l.machine.Oldest(); c != nil {
		return c.Payload.(*message).rec.Timestamp
	}
	return time.Time{}
}

// logName is how a mark names a log: empty for the input topic.
func (l *Lane) logName(log lane.Log) string {
	if log == lane.Input {
		return ""
	}
	return l.cfg.Tiers[log-1]
}

func (l *Lane) logTopic(log lane.Log) string {
	if log == lane.Input {
		return l.cfg.Topic
	}
	return l.cfg.Tiers[log-1]
}
