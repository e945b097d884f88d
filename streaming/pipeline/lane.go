package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
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
	StateTopic      string // empty: the agent keeps no state

	Handlers       map[string]streaming.Handler // by message type
	Filters        map[string]*schemas.Filter   // by message type; what does not match is skipped
	Policy         retry.Policy
	Parallel       int           // handlers running at once in this lane
	HandlerTimeout time.Duration // 0: none
	Breaker        *Breaker      // shared by the lanes of an agent
	Gate           *Gate         // shared by the lanes of a worker
	Alone          *Alone        // shared by the lanes of a worker
	Limiter        *Limiter      // shared by the lanes of a worker
	Memory         *Memory       // shared by the lanes of a worker
	MaxPending     int           // unsettled input records at which Offer says full
	MaxHeld        int           // values kept in memory for copies that wait in tiers
	MaxWaiting     int           // copies that wait in tiers at which the input topic pauses; 0: no bound
	Hold           bool          // a dead letter holds its key; the last of Tiers is the hold topic then
	Unordered      bool          // copies of different messages never wait for each other

	AnswerBytes      int // of a request's answer that is kept for its duplicates; 0: none
	StepBytes        int // of one step's result
	MessageStepBytes int // of all results of one message
	HeldStepBytes    int // of results kept in memory; others are read again
	StateBytes       int // of one entry of state

	Codec *schemas.Codec
	Log   Appender
	// Fits reports a record that is over its topic's limit. Nil: that shows when it
	// is appended.
	Fits func(rec *streaming.Record) error
	// Absent tells whether the topic of a record does not exist, before it is sent; false:
	// it exists, and nothing is told. Nil: that shows when it is appended.
	Absent func(rec *streaming.Record, told func(absent bool)) (asked bool)
	// Atomic makes the lane settle exactly once: it is told when there is
	// something that Lane.Cut takes. Nil: at least once.
	Atomic   func()
	Loader   Loader
	Clock    streaming.Clock
	Observer Observer
	Logger   *slog.Logger
	// Trace returns the W3C trace context of what a message has caused.
	Trace func(traceparent, tracestate string) (string, string)

	OnRoom func()      // a full lane takes records again
	OnStop func()      // agent.stop has been settled
	OnFail func(error) // the lane cannot go on; nothing more is settled
	// OnFenced tells that a handler's database knows a later owner of the lane: it
	// is lost, or has to be claimed anew. Any number of times.
	OnFenced func()
	Facts    *ledger.Window
}

// Lane takes the records of one owned input partition to their ends. Offer and
// the other methods may be called from any goroutine; the state machine and all
// decisions live on the lane's own.
type Lane struct {
	cfg     Config
	machine *lane.Machine
	steps   *stepIndex
	kept    keyedState
	ctx     context.Context // of the handlers
	cancel  context.CancelFunc
	done    chan struct{}

	active atomic.Bool // it starts handlers or has some running
	inbox  inbox

	mu          sync.Mutex
	state       Positions // published
	queued      int       // input records offered, not yet read by the machine
	bytes       int       // of unsettled input records, published
	queuedBytes int
	full        bool
	crowded     bool // as many copies wait in tiers as the index holds
	lost        bool // owned no more: nothing may be sent

	// Only on the lane's goroutine.
	running  int // handlers
	runners  *runners
	appends  int // appends not yet acknowledged
	commit   []int64
	staged   []*conclusion
	flushed  []*conclusion    // under way; its room is used again
	marks    []streaming.Mark // room for those of a batch
	messages slab[message]
	now      time.Time // of the loop's round
	flushing bool      // marks are on their way; exactly once: it was told that something is staged
	loads    loads
	heard    int   // bytes read since they were last published
	weighed  int   // bytes that the gauge knows of
	turn     *turn // to start a handler, among the lanes that share a limiter
	closing  bool
	failure  error
	cut      bool  // the ledger's bound in size has cut its window in time
	epoch    int64 // offset of this owner's claim in the ledger partition
	deadEnd  int64
	opened   time.Time

	refusing  map[string]bool // keys of which a message was refused and none is done since
	doubt     *doubt          // nil: the former owner has stopped cleanly
	released  bool            // the last mark of a lane that closes is acknowledged
	told      bool            // that the index of waiting copies is full
	answering []*again        // duplicates of requests whose answers are being sent again

	carrying bool             // steps are being carried forward
	unmarked []streaming.Mark // of dead letters that were recalled without one
}

// Positions is how far a lane has come.
type Positions struct {
	Commit  []int64 // per log, the input topic first: may be committed
	Pending int     // input records that are not settled
	Running int     // handlers
	Idle    bool    // nothing is waiting, running or unacknowledged
}

// NewLane returns a lane that handles nothing until it is opened.
func NewLane(ctx context.Context, cfg Config) *Lane {
	l := &Lane{
		cfg:     cfg,
		machine: newMachine(&cfg),
		steps:   newStepIndex(cfg.HeldStepBytes),
		doubt:   newDoubt(),
		done:    make(chan struct{}),
		inbox:   inbox{wake: make(chan struct{}, 1)},
	}
	l.runners = newRunners(l.runAttempt)
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.turn = cfg.Limiter.turn(l.Wake)
	return l
}

// Offer gives records of the input topic (tier 0) or of a tier, in order. It
// never blocks. It reports whether the lane is full: what is offered all the
// same is kept, and Config.OnRoom tells when there is room again. Until then it
// is full.
func (l *Lane) Offer(tier int, recs []streaming.Record) (full bool) {
	bytes := 0
	if tier == 0 {
		bytes = weight(recs)
		half := l.cfg.Memory.half()
		l.mu.Lock()
		l.queued += len(recs)
		l.queuedBytes += bytes
		l.full = l.full || l.crowded || l.queued+l.state.Pending >= l.cfg.MaxPending || l.queuedBytes+l.bytes >= half
		full = l.full
		l.mu.Unlock()
	}
	l.inbox.put(func(h *happened) { h.offers = append(h.offers, offer{lane.Log(tier), recs, bytes}) })
	return full
}

// Positions reports how far the lane has come.
func (l *Lane) Positions() Positions {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.state
	p.Pending += l.queued
	p.Idle = p.Idle && l.inbox.isEmpty()
	return p
}

// Observe reports the age of the oldest unsettled input record, and the
// effective window of the ledger.
func (l *Lane) Observe() {
	l.post(func() {
		l.observeWindow()
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
			settled: func(_ []int64, ledger int64) { written(ledger, ends) },
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

// post has a function run on the lane's goroutine.
func (l *Lane) post(event func()) {
	l.inbox.put(func(h *happened) { h.events = append(h.events, event) })
}
