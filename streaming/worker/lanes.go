package worker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// lanes are the input partitions that this worker owns.
type lanes struct {
	w   *Worker
	ctx context.Context

	mu      sync.Mutex
	held    map[streaming.TopicPartition]bool // what the group has assigned
	byTP    map[streaming.TopicPartition]*owned
	routes  map[streaming.TopicPartition]route // input and retry partitions
	leaving map[*owned]bool                    // drained now, and still the group's to take away

	standing map[streaming.TopicPartition]*kafka.UnpackedTooLargeError // of those of routes that cannot be read on

	room    chan struct{} // some lane has room again
	waiting []*owned      // full lanes that polling waits for; only its goroutine's
}

// owned is one lane with what the worker knows about it.
type owned struct {
	tp       streaming.TopicPartition
	in       input
	all      []streaming.TopicPartition // see logs
	lane     *pipeline.Lane
	facts    *ledger.Window
	observer pipeline.Observer

	mu          sync.Mutex    // orders pausing and resuming
	flow        flow          // guarded by mu
	open        bool          // guarded by lanes.mu
	committed   []int64       // per log, as Positions.Commit; guarded by Worker.committing
	checkpoints []checkpoint  // in the ledger, oldest first; guarded by Worker.committing
	stopped     bool          // guarded by lanes.mu
	fenced      atomic.Bool   // a database knows a later owner
	released    atomic.Bool   // owned no more: no transaction may hold anything of it
	gone        chan struct{} // closed when it has been drained
}

type route struct {
	owned *owned
	tier  int
}

func newLanes(w *Worker) *lanes {
	return &lanes{
		w:       w,
		held:    make(map[streaming.TopicPartition]bool),
		byTP:    make(map[streaming.TopicPartition]*owned),
		routes:  make(map[streaming.TopicPartition]route),
		leaving: make(map[*owned]bool),

		standing: make(map[streaming.TopicPartition]*kafka.UnpackedTooLargeError),
		room:     make(chan struct{}, 1),
	}
}

// assigned opens lanes. They are rebuilt in the background: the group is not
// held up.
func (ls *lanes) assigned(tps []streaming.TopicPartition) {
	ls.mu.Lock()
	for _, tp := range tps {
		ls.held[tp] = true
	}
	ls.mu.Unlock()
	ls.start(tps)
}

// start opens lanes of what is held.
func (ls *lanes) start(tps []streaming.TopicPartition) {
	var batch []*owned
	ls.mu.Lock()
	for _, tp := range tps {
		in, ok := ls.w.inputs[tp.Topic]
		if !ok || !ls.held[tp] || ls.byTP[tp] != nil {
			continue
		}
		o := ls.newOwned(tp, in)
		ls.byTP[tp] = o
		batch = append(batch, o)
	}
	ls.mu.Unlock()
	go func() {
		err := ls.w.rebuild(ls.ctx, batch)
		switch {
		case err == nil || ls.ctx.Err() != nil:
		case kafka.Temporary(err):
			ls.w.cfg.Logger.Warn("partitions not taken over; tried again", "error", err)
			ls.again(batch)
		default:
			ls.w.fail(err)
		}
	}()
}

// rebuildRetry is the pause before a takeover that has failed is tried again.
const rebuildRetry = 500 * time.Millisecond

// again takes over anew, from nothing, what is still held.
func (ls *lanes) again(batch []*owned) {
	select {
	case <-ls.ctx.Done():
		return
	case <-time.After(rebuildRetry):
	}
	var tps []streaming.TopicPartition
	ls.mu.Lock()
	for _, o := range batch {
		if ls.byTP[o.tp] == o {
			delete(ls.byTP, o.tp)
			tps = append(tps, o.tp)
		}
	}
	ls.mu.Unlock()
	ls.start(tps)
}

func (ls *lanes) newOwned(tp streaming.TopicPartition, in input) *owned {
	cfg := ls.w.cfg
	o := &owned{
		tp:       tp,
		in:       in,
		gone:     make(chan struct{}),
		observer: cfg.Observe(tp.Topic),
		facts:    ledger.NewWindow(cfg.LedgerWindow, cfg.LedgerSize, cfg.Clock.Now),
	}
	for _, topic := range in.logs() {
		o.all = append(o.all, streaming.TopicPartition{Topic: topic, Partition: tp.Partition})
	}
	var atomically func()
	fits := ls.w.log.Fits
	if ls.w.transactions != nil {
		fits = ls.w.transactions.t.Fits
		atomically = func() { ls.w.transactions.ready(o) }
	}
	o.lane = pipeline.NewLane(ls.ctx, pipeline.Config{
		Agent: cfg.Agent, Group: cfg.Group, Namespace: cfg.Namespace,
		Topic: tp.Topic, Partition: tp.Partition, Inbox: in.inbox,
		Tiers: in.tiers, DeadLetterTopic: in.dead, LedgerTopic: in.ledger, StateTopic: in.state,
		Handlers: ls.w.handlers(in), Filters: cfg.Filters, Policy: cfg.Retry, Parallel: cfg.Parallel, HandlerTimeout: cfg.HandlerTimeout,
		Breaker: ls.w.breaker, Gate: ls.w.gate, Alone: ls.w.alone, Limiter: ls.w.limiter, Memory: ls.w.memory,
		MaxPending: cfg.MaxPending, MaxHeld: cfg.MaxHeld,
		MaxWaiting: cfg.MaxWaiting, Unordered: cfg.Unordered, Hold: cfg.Hold,
		AnswerBytes: cfg.AnswerBytes, StepBytes: cfg.StepBytes, MessageStepBytes: cfg.MessageStepBytes, HeldStepBytes: cfg.HeldStepBytes, StateBytes: cfg.StateBytes,
		Codec: cfg.Codec, Log: ls.w.log, Fits: fits, Absent: ls.w.log.Absent, Atomic: atomically, Loader: ls.w.log, Clock: cfg.Clock,
		Observer: o.observer, Logger: cfg.Logger, Trace: cfg.Trace, Facts: o.facts,
		OnRoom: func() { ls.hasRoom(o) },
		OnStop: func() { ls.w.stopSettled(o) },
		OnFail: ls.w.fail, OnFenced: func() { ls.fenced(o) },
	})
	return o
}

// stillOwned drops the lanes that were taken away.
func (ls *lanes) stillOwned(some []*rebuilt) []*rebuilt {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.DeleteFunc(some, func(r *rebuilt) bool { return ls.byTP[r.tp] != r.owned })
}

// opened lets records flow to a rebuilt lane, unless it was taken away
// meanwhile: then it has handled nothing, and is dropped.
func (ls *lanes) opened(o *owned, claimed int64, positions []int64) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.byTP[o.tp] != o {
		return
	}
	o.open = true
	o.lane.Open(claimed, positions[0], positions[1:])
	follow := map[streaming.TopicPartition]int64{}
	for i, tp := range o.logs() {
		ls.routes[tp] = route{o, i}
		follow[tp] = positions[i]
	}
	ls.w.log.Resume(o.logs())
	ls.w.log.Follow(follow)
	ls.w.cfg.Logger.Debug("partition open", "agent", ls.w.cfg.Agent, "partition", o.tp, "from", positions)
	select {
	case <-ls.w.ready:
	default:
		close(ls.w.ready)
	}
}

// logs are the partitions that a lane reads.
func (o *owned) logs() []streaming.TopicPartition { return o.all }

// revoked drains lanes and commits what they have settled.
func (ls *lanes) revoked(tps []streaming.TopicPartition) {
	taken := ls.take(tps, true)
	defer ls.await(tps) // a stop may be draining some of them already
	if len(taken) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ls.ctx), ls.w.cfg.DrainTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, o := range taken {
		all.Go(func() { o.lane.Close(ctx, ls.w.cfg.DrainTimeout/2) })
	}
	all.Wait()
	commit, done := context.WithTimeout(context.WithoutCancel(ls.ctx), commitTimeout)
	defer done()
	ls.w.commit(commit, taken, false)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, o := range taken {
		o.released.Store(true)
		delete(ls.leaving, o)
		close(o.gone)
	}
}

// await waits until no lane of these partitions is being drained: who has
// agreed to give a partition up must have let go of it.
func (ls *lanes) await(tps []streaming.TopicPartition) {
	var draining []*owned
	ls.mu.Lock()
	for o := range ls.leaving {
		if slices.Contains(tps, o.tp) {
			draining = append(draining, o)
		}
	}
	ls.mu.Unlock()
	for _, o := range draining {
		<-o.gone
	}
}

// lost drops lanes that somebody else may own already: nothing is committed.
func (ls *lanes) lost(tps []streaming.TopicPartition) {
	ls.take(tps, true)
	// What is being drained is lost, too: the member joins again, and what it
	// commits then would pass.
	var taken []*owned
	ls.mu.Lock()
	for o := range ls.leaving {
		if slices.Contains(tps, o.tp) {
			o.released.Store(true)
			delete(ls.leaving, o)
			taken = append(taken, o)
		}
	}
	ls.mu.Unlock()
	for _, o := range taken {
		o.lane.Abort()
	}
	// The member joins again when this returns: no transaction may hold
	// anything of the lost lanes then (rule F6).
	ls.w.committing.Lock()
	defer ls.w.committing.Unlock()
}

// reopen drops lanes and rebuilds them from the logs, where they are still held.
func (ls *lanes) reopen(some []*owned) {
	var tps []streaming.TopicPartition
	for _, o := range some {
		tps = append(tps, o.tp)
	}
	for _, o := range ls.take(tps, false) {
		o.released.Store(true)
		o.lane.Abort()
	}
	ls.start(tps)
}

// take removes lanes and returns those that were open. With gone the group has
// taken them away.
func (ls *lanes) take(tps []streaming.TopicPartition, gone bool) []*owned {
	var taken []*owned
	var logs []streaming.TopicPartition
	ls.mu.Lock()
	for _, tp := range tps {
		if gone {
			delete(ls.held, tp)
		}
		o := ls.byTP[tp]
		if o == nil {
			continue
		}
		delete(ls.byTP, tp)
		if !o.open {
			continue
		}
		if gone {
			ls.leaving[o] = true
		}
		taken = append(taken, o)
		logs = append(logs, o.logs()...)
		for _, tp := range o.logs() {
			delete(ls.routes, tp)
			delete(ls.standing, tp)
		}
	}
	ls.mu.Unlock()
	ls.w.log.Leave(logs)
	return taken
}

// owned lists the owned partitions, opened or not.
func (ls *lanes) owned() []streaming.TopicPartition {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var tps []streaming.TopicPartition
	for tp := range ls.byTP {
		tps = append(tps, tp)
	}
	return tps
}

// wake makes all lanes look again at what may be started.
func (ls *lanes) wake() {
	for _, o := range ls.open() {
		o.lane.Wake()
	}
}

// open lists the open lanes.
func (ls *lanes) open() []*owned {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var all []*owned
	for _, o := range ls.byTP {
		if o.open {
			all = append(all, o)
		}
	}
	return all
}

var _ pipeline.Appender = (*kafka.Log)(nil)
