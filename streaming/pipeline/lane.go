package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// Config is what a lane needs. Every field without a stated default is required.
type Config struct {
	Agent     string
	Group     string
	Namespace streaming.Namespace

	Topic           string // the input topic
	Partition       int32
	Inbox           bool     // the topic is the agent's inbox, not a stream
	Tiers           []string // retry topics, in the order of Policy.Tiers
	DeadLetterTopic string
	LedgerTopic     string

	Handlers       map[string]streaming.Handler // by message type
	Policy         retry.Policy
	Parallel       int           // handlers running at once in this lane
	HandlerTimeout time.Duration // 0: none
	Breaker        *Breaker      // shared by the lanes of an agent
	MaxPending     int           // unsettled input records at which Offer says full
	MaxHeld        int           // values kept in memory for copies that wait in tiers

	StepBytes        int // of one step's result
	MessageStepBytes int // of all results of one message
	HeldStepBytes    int // of results kept in memory; others are read again

	Codec *schemas.Codec
	Log   Appender
	// Atomic makes the lane settle exactly once: it writes records all or
	// nothing, in one transaction with the lane's offsets, and calls done once,
	// from any goroutine, with their offsets, or with those that can never be
	// written if nothing was. Nil: at least once.
	Atomic   func(recs []*streaming.Record, done func(offsets []int64, refused map[int]error))
	Loader   Loader
	Clock    streaming.Clock
	Observer Observer
	Logger   *slog.Logger
	// Trace returns the W3C trace context of what a message has caused.
	Trace func(traceparent, tracestate string) (string, string)

	OnRoom func()      // a full lane takes records again
	OnStop func()      // agent.stop has been settled
	OnFail func(error) // the lane cannot go on; nothing more is settled
	Facts  *ledger.Window
}

// Lane takes the records of one owned input partition to their ends. Offer and
// the other methods may be called from any goroutine; the state machine and all
// decisions live on the lane's own.
type Lane struct {
	cfg     Config
	machine *lane.Machine
	steps   *stepIndex
	ctx     context.Context // of the handlers
	cancel  context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	events []func()
	wake   chan struct{}
	state  Positions // published
	queued int       // input records offered, not yet read by the machine
	full   bool
	lost   bool // owned no more: nothing may be sent

	// Only on the lane's goroutine.
	running  int        // handlers
	runners  int        // goroutines that run them
	attempts chan start // to the runners; closed when the lane ends
	appends  int        // appends not yet acknowledged
	staged   []*conclusion
	flushing bool
	closing  bool
	failure  error
	epoch    int64 // offset of this owner's claim in the ledger partition
	deadEnd  int64
	opened   time.Time

	carrying bool             // steps are being carried forward
	unmarked []streaming.Mark // of dead letters that were recalled without one
}

// start is one attempt to be made.
type start struct {
	c      *lane.Copy
	m      *message
	number int
}

// Positions is how far a lane has come.
type Positions struct {
	Commit  []int64 // per log, the input topic first: may be committed
	Pending int     // input records that are not settled
	Idle    bool    // nothing is waiting, running or unacknowledged
}

// NewLane returns a lane that handles nothing until it is opened.
func NewLane(ctx context.Context, cfg Config) *Lane {
	l := &Lane{
		cfg:     cfg,
		machine: lane.New(len(cfg.Tiers), cfg.Facts),
		steps:   newStepIndex(cfg.HeldStepBytes),
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		// There are as many runners as attempts under way: sending hardly waits.
		attempts: make(chan start, cfg.Parallel),
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l
}

// RecallTier tells of a record found in a tier before the lane is opened.
func (l *Lane) RecallTier(tier int, rec streaming.Record) {
	_, c := decodeHop(rec, lane.Log(tier))
	c.Payload = nil // the tail brings it
	l.machine.RecallCopy(c)
}

// RecallMark tells of a mark found at that offset of the ledger before the lane
// is opened.
func (l *Lane) RecallMark(m streaming.Mark, offset int64) {
	switch m.Kind {
	case streaming.MarkDone:
		l.steps.drop(m.ID)
		l.cfg.Facts.SettleAt(m.ID, lane.Fact{Done: true, Origin: m.Origin}, m.Time)
	case streaming.MarkDead:
		l.steps.shelve(m.ID)
		l.cfg.Facts.SettleAt(m.ID, lane.Fact{Moves: m.Moves, Origin: m.Origin}, m.Time)
	case streaming.MarkCheckpoint:
		l.deadEnd = max(l.deadEnd, m.Checkpoint.Ends[l.cfg.DeadLetterTopic])
	case streaming.MarkStep:
		if f, _ := l.cfg.Facts.Settled(m.ID); !f.Done {
			l.steps.recall(m, offset)
		}
	}
}

// RecallDead tells of a dead letter found before the lane is opened: it is a
// fact even if its owner crashed before the mark.
func (l *Lane) RecallDead(rec streaming.Record) {
	m, c := decodeHop(rec, lane.Input)
	if m.hop.Moves == 0 {
		return // nothing of ours
	}
	l.steps.shelve(c.ID)
	if f, ok := l.cfg.Facts.Settled(c.ID); !ok || !f.Done && f.Moves < m.hop.Moves {
		l.unmarked = append(l.unmarked, streaming.Mark{
			Kind: streaming.MarkDead, ID: c.ID, Moves: m.hop.Moves, Attempts: m.hop.Attempt, Origin: c.Origin, Time: rec.Timestamp,
		})
	}
	l.cfg.Facts.SettleAt(c.ID, lane.Fact{Moves: m.hop.Moves, Origin: c.Origin}, rec.Timestamp)
	l.deadEnd = max(l.deadEnd, rec.Offset+1)
}

// Open starts the lane; epoch is the offset of its owner's claim. The input topic
// and each tier will be offered from these offsets on.
func (l *Lane) Open(epoch, input int64, tiers []int64) {
	l.epoch = epoch
	l.opened = l.cfg.Clock.Now()
	l.machine.Open(append([]int64{input}, tiers...))
	// A former owner died before it could mark these. The next checkpoint ends
	// behind their dead letters, so their marks go before it.
	for _, mark := range l.unmarked {
		mark.Epoch = epoch
		l.conclude(&conclusion{mark: &mark, settled: func([]int64, int64) {}})
	}
	l.unmarked = nil
	l.publish()
	go l.loop()
}

// Offer gives records of the input topic (tier 0) or of a tier, in order. It
// never blocks. It reports whether the lane is full: what is offered all the
// same is kept, and Config.OnRoom tells when there is room again.
func (l *Lane) Offer(tier int, recs []streaming.Record) (full bool) {
	l.mu.Lock()
	if tier == 0 {
		l.queued += len(recs)
		l.full = l.queued+l.state.Pending >= l.cfg.MaxPending
		full = l.full
	}
	l.mu.Unlock()
	l.post(func() {
		for i := range recs {
			l.read(lane.Log(tier), recs[i])
		}
		if tier == 0 {
			l.cfg.Observer.Consumed(len(recs))
			l.mu.Lock()
			l.queued -= len(recs)
			l.mu.Unlock()
		}
	})
	return full
}

// Positions reports how far the lane has come.
func (l *Lane) Positions() Positions {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.state
	p.Pending += l.queued
	p.Idle = p.Idle && len(l.events) == 0
	return p
}

// ObserveLag reports the age of the oldest unsettled input record.
func (l *Lane) ObserveLag() {
	l.post(func() {
		age := time.Duration(0)
		if oldest := l.oldest(); !oldest.IsZero() {
			age = l.cfg.Clock.Now().Sub(oldest)
		}
		l.cfg.Observer.Lag(l.cfg.Partition, age)
	})
}

// Checkpoint records the lane's positions in its ledger, together with the
// offsets that the group has committed. written is told where it stands.
func (l *Lane) Checkpoint(committed map[string]int64, written func(offset int64, ends map[string]int64)) {
	l.post(func() {
		if l.closing || l.failure != nil {
			return
		}
		ends := map[string]int64{l.cfg.Topic: l.machine.Position(lane.Input), l.cfg.DeadLetterTopic: l.deadEnd}
		for i, t := range l.cfg.Tiers {
			ends[t] = l.machine.Position(lane.Log(i + 1))
		}
		l.conclude(&conclusion{
			mark: &streaming.Mark{
				Kind: streaming.MarkCheckpoint, Epoch: l.epoch, Time: l.cfg.Clock.Now(),
				Checkpoint: &streaming.Checkpoint{Ends: ends, Committed: committed},
			},
			settled: func(_ []int64, ledger int64) {
				l.cfg.Facts.Evict()
				written(ledger, ends)
			},
		})
	})
}

// Close stops handing records to handlers and waits until what is under way is
// settled. When grace has passed the handlers' context is cancelled; when ctx
// ends the rest is given up: it is not settled and will be handled again.
func (l *Lane) Close(ctx context.Context, grace time.Duration) {
	l.post(func() { l.closing = true })
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
		l.cancel()
	case <-ctx.Done():
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		l.Abort()
	}
}

// Abort gives the lane up at once: nothing more of it is sent or settled.
func (l *Lane) Abort() {
	l.mu.Lock()
	l.lost = true
	l.mu.Unlock()
	l.cancel()
	l.post(func() {})
	<-l.done
}

func (l *Lane) post(event func()) {
	l.mu.Lock()
	l.events = append(l.events, event)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Lane) loop() {
	defer close(l.done)
	defer close(l.attempts)
	defer l.cancel()
	defer func() {
		l.cfg.Observer.InFlight(-l.machine.Unsettled(lane.Input))
		l.cfg.Observer.LaneClosed(l.cfg.Partition)
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.mu.Lock()
		events, lost := l.events, l.lost
		l.events = nil
		l.mu.Unlock()
		if lost {
			return
		}
		for _, event := range events {
			event()
		}
		l.decide()
		l.flush()
		l.publish()
		if l.closing && l.running == 0 && l.appends == 0 && len(l.staged) == 0 && l.quiet() {
			return
		}
		wait := time.Hour
		if due, ok := l.machine.NextDue(); ok && !l.closing { // nothing is started any more: what is due stays due
			wait = due.Sub(l.cfg.Clock.Now())
		}
		if until, open := l.cfg.Breaker.Until(); open {
			wait = min(wait, max(until.Sub(l.cfg.Clock.Now()), breakerLook))
		}
		timer.Reset(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		}
	}
}

func (l *Lane) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *Lane) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events) == 0
}

// read takes one record into the state machine.
func (l *Lane) read(log lane.Log, rec streaming.Record) {
	if log == lane.Input {
		m, c := decodeInput(rec)
		if !l.concerns(m) {
			l.cfg.Observer.Skipped()
			l.machine.Pass(log, rec.Offset)
			return
		}
		c.Barrier = l.cfg.Inbox && m.bad == nil && m.env.Type == schemas.TypeAgentStop
		if l.machine.Read(c) != nil {
			l.cfg.Observer.InFlight(1)
		}
		return
	}
	_, c := decodeHop(rec, log)
	if l.machine.Held() >= l.cfg.MaxHeld {
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
	for !l.closing {
		d := l.machine.Next(now, l.running < l.cfg.Parallel && l.cfg.Breaker.Ready(now))
		switch d.Action {
		case lane.None:
			return
		case lane.Drop:
			l.ended(d.Copy)
			if d.Copy.Log == lane.Input && !d.Again {
				l.cfg.Observer.Duplicate()
			}
		case lane.Defer:
			l.queueBehind(d.Copy, d.Copy.Payload.(*message), d.Tier)
		case lane.Load:
			l.load(d.Copy)
		case lane.Run:
			l.start(d.Copy, d.Copy.Payload.(*message), now)
		}
	}
}

// start hands a message to its handler.
func (l *Lane) start(c *lane.Copy, m *message, now time.Time) {
	if m.bad == nil && m.env.DeliverAt.After(now) {
		l.postpone(c, m, m.env.DeliverAt)
		return
	}
	if c.Attempts > 0 {
		l.cfg.Observer.Redelivered()
		if !c.Due.IsZero() {
			from := c.Due
			if l.opened.After(from) {
				from = l.opened
			}
			l.cfg.Observer.RetryLateness(now.Sub(from))
		}
	}
	if m.bad == nil && m.env.Ack == streaming.AckDelivered && c.Moves == 0 && c.Attempts == 0 {
		l.running++
		go l.acknowledge(c, m, now)
		return
	}
	l.run(c, m)
}

// acknowledge tells the sender that its message has arrived, then runs it.
func (l *Lane) acknowledge(c *lane.Copy, m *message, now time.Time) {
	rec, err := l.ack(l.ctx, m, streaming.AckDelivered, now)
	l.post(func() {
		l.running--
		if err != nil {
			l.settle(c, m, attempted{err: &streaming.UnavailableError{Err: err}})
			return
		}
		l.append(rec, func(_ int64, err error) {
			switch {
			case err == nil:
				l.cfg.Observer.Sent(rec.Topic, 1)
			case !isRefusal(err):
				l.fail(err)
				return
			}
			l.run(c, m)
		})
	})
}

func (l *Lane) run(c *lane.Copy, m *message) {
	l.running++
	l.cfg.Breaker.Started(l.cfg.Clock.Now())
	if l.running > l.runners {
		l.runners++
		go l.runAttempts()
	}
	l.attempts <- start{c, m, c.Attempts + 1}
}

// runAttempts runs handlers until the lane has ended. A goroutine serves many
// messages, because growing its stack costs about as much as handling one.
func (l *Lane) runAttempts() {
	for s := range l.attempts {
		a := l.attempt(l.ctx, s.c, s.m, s.number)
		l.post(func() {
			l.running--
			if l.failure == nil {
				l.settle(s.c, s.m, a)
			}
		})
	}
}

// loadPause is how long a value that cannot be read waits for the next try.
const loadPause = time.Second

// load fetches the value of a copy that was not kept in memory.
func (l *Lane) load(c *lane.Copy) {
	topic := l.logTopic(c.Log)
	go func() {
		rec, err := l.cfg.Loader.Load(l.ctx, topic, l.cfg.Partition, c.Offset)
		l.post(func() {
			if err == nil {
				m, _ := decodeHop(rec, c.Log)
				l.machine.Loaded(c, m)
				return
			}
			if l.ctx.Err() == nil {
				l.cfg.Logger.Warn("cannot read a waiting message again; trying on", "topic", topic,
					"partition", l.cfg.Partition, "offset", c.Offset, "error", err)
				l.machine.Later(c, l.cfg.Clock.Now().Add(loadPause))
			}
		})
	}()
}

// append sends a record, if the lane is still owned; acked runs on the lane's
// goroutine. What is left of a lost lane is never reported back: nothing of it
// is settled.
func (l *Lane) append(rec *streaming.Record, acked func(offset int64, err error)) {
	if l.isLost() {
		return
	}
	l.appends++
	l.cfg.Log.Append(rec, func(offset int64, err error) {
		l.post(func() {
			l.appends--
			if l.failure == nil {
				acked(offset, err)
			}
		})
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

// ended keeps the gauges in step when a copy ends.
func (l *Lane) ended(c *lane.Copy) {
	if c.Log == lane.Input {
		l.cfg.Observer.InFlight(-1)
	}
}

func (l *Lane) publish() {
	commit := make([]int64, len(l.cfg.Tiers)+1)
	for i := range commit {
		commit[i] = l.machine.Watermark(lane.Log(i))
	}
	p := Positions{
		Commit:  commit,
		Pending: l.machine.Unsettled(lane.Input),
		Idle:    l.machine.Live() == 0 && l.running == 0 && l.appends == 0 && len(l.staged) == 0,
	}
	l.mu.Lock()
	l.state = p
	room := l.full && l.queued+p.Pending <= l.cfg.MaxPending/2
	if room {
		l.full = false
	}
	l.mu.Unlock()
	if room {
		l.cfg.OnRoom()
	}
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
