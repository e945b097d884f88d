package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// Worker is one instance of an agent.
type Worker struct {
	cfg    Config
	inputs map[string]input // by input topic

	breaker *pipeline.Breaker
	gate    *pipeline.Gate
	limiter *pipeline.Limiter
	memory  *pipeline.Memory

	controlling sync.Mutex      // of the following
	wanted      schemas.Control // what an operator wants
	paused      bool            // as last obeyed
	controlled  bool            // all that was said before the start has been read
	unread      int             // topics of Config.Follow that have not been read yet

	standing []byte // the group's contract in the topic of agents; on the goroutine of followControl
	alone    *pipeline.Alone

	log          *kafka.Log
	member       *kafka.Member
	lanes        *lanes
	transactions *transactions // exactly once; else nil

	failed   chan error
	stopping sync.Once
	stopped  chan struct{} // agent.stop has been obeyed
	ready    chan struct{} // the first lanes are open

	committing turn // one commit at a time, also with the final one
}

// New returns a worker, or all that is wrong with its configuration.
func New(cfg Config) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w := &Worker{
		cfg:     cfg.withDefaults(),
		inputs:  make(map[string]input),
		breaker: new(pipeline.Breaker),
		gate:    new(pipeline.Gate),
		alone:   new(pipeline.Alone),
		failed:  make(chan error, 1),

		unread:  len(cfg.Follow),
		stopped: make(chan struct{}),
		ready:   make(chan struct{}),

		committing: make(turn, 1),
	}
	for _, in := range w.cfg.inputs() {
		w.inputs[in.topic] = in
	}
	w.limiter = pipeline.NewLimiter(w.cfg.Limits)
	w.memory = pipeline.NewMemory(w.cfg.MaxBytes)
	w.lanes = newLanes(w)
	w.breaker.Closed = w.lanes.wake
	return w, nil
}

// Run works until ctx ends or the agent is told to stop; then it drains: no new
// message is started, what is under way is settled or given back within
// Config.DrainTimeout, offsets are committed, the group is left. An error says
// why it could not go on; nothing is lost by it.
func (w *Worker) Run(ctx context.Context) error {
	log, err := kafka.NewLog(w.cfg.Kafka)
	if err != nil {
		return err
	}
	defer log.Close()
	w.log = log
	if err := w.prepareTopics(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it has begun
		}
		return err
	}
	if err := w.fixEnds(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	if w.cfg.ExactlyOnce {
		if w.transactions, err = newTransactions(w); err != nil {
			return err
		}
		defer w.transactions.t.Close()
	}

	// The log outlives ctx: draining needs it.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	w.lanes.ctx = running
	w.gate.Close() // until it is known what an operator wants
	member, err := w.join()
	if err != nil {
		return err
	}
	w.member = member

	var background sync.WaitGroup
	background.Go(func() {
		if err := log.Read(running, w.lanes.awaitRoom, w.lanes.deliver, w.lanes.stand); err != nil {
			w.fail(err)
		}
	})
	background.Go(func() { w.tend(running) })
	background.Go(func() {
		if err := w.followControl(running); err != nil {
			w.fail(err)
		}
	})
	here := &announcing{w: w, started: w.cfg.Clock.Now()}
	announced := make(chan struct{})
	announcingCtx, silent := context.WithCancel(running)
	defer silent()
	go func() {
		defer close(announced)
		w.announce(announcingCtx, here)
	}()
	for _, f := range w.cfg.Follow {
		background.Go(func() {
			if err := w.follow(running, f); err != nil {
				w.fail(err)
			}
		})
	}
	transacting, giveUp := context.WithCancel(running)
	defer giveUp()
	if w.transactions != nil {
		background.Go(func() { w.transactions.run(transacting) })
	}

	select {
	case <-ctx.Done():
	case <-w.stopped:
	case err = <-w.failed:
	}
	// A transaction waits for the broker as long as it takes, and the last commit
	// for the transaction: where no broker answers, draining would never end.
	bound := time.AfterFunc(w.cfg.DrainTimeout, giveUp)
	defer bound.Stop()
	w.drain()
	member.Leave()
	silent()
	<-announced
	here.leave()
	stop()
	background.Wait()
	select {
	case late := <-w.failed:
		err = errors.Join(err, late)
	default:
	}
	if err != nil {
		return fmt.Errorf("agent %s: %w", w.cfg.Agent, err)
	}
	return nil
}

// Ready is closed when this worker's first partitions are open.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

func (w *Worker) fail(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

// prepareTopics creates what is missing, where that is allowed, and refuses to
// start on a topic that would break a promise.
func (w *Worker) prepareTopics(ctx context.Context) error {
	plan, err := w.log.PlanTopics(ctx, w.cfg.TopicSpecs())
	if err != nil {
		return err
	}
	if err := plan.Err(); err != nil {
		return err
	}
	if err := w.refuseStranded(ctx); err != nil {
		return err
	}
	if w.cfg.CheckTopicsOnly {
		return plan.Missing()
	}
	return w.log.ApplyTopics(ctx, plan, w.cfg.Replication)
}

// StrandedError says that messages wait in a retry topic that the worker's
// policy does not name: nobody would ever handle them.
type StrandedError struct {
	Topic    string
	Messages int64
	Held     bool // it is the hold topic
}

func (e *StrandedError) Error() string {
	if e.Held {
		return fmt.Sprintf("%d messages may wait behind dead letters in %s, and the agent does not hold keys any more; let it hold them until that topic is empty", e.Messages, e.Topic)
	}
	return fmt.Sprintf("%d messages may wait in %s, which is not among the agent's retry tiers; keep that delay among them until it is empty", e.Messages, e.Topic)
}

func (w *Worker) refuseStranded(ctx context.Context) error {
	var errs []error
	for _, in := range w.inputs {
		topics, err := w.log.Topics(ctx, in.topic+".")
		if err != nil {
			return err
		}
		for topic := range topics {
			held := topic == streaming.HoldTopic(in.topic, w.cfg.Group)
			retry := strings.HasPrefix(topic, in.topic+".retry-") && strings.HasSuffix(topic, "."+w.cfg.Group)
			if !held && !retry || slices.Contains(in.tiers, topic) {
				continue
			}
			starts, err := w.log.StartOffsets(ctx, topic)
			if err != nil {
				return err
			}
			ends, err := w.log.EndOffsets(ctx, topic)
			if err != nil {
				return err
			}
			committed, err := w.log.CommittedOf(ctx, w.cfg.Group, slices.Collect(maps.Keys(ends)))
			if err != nil {
				return err
			}
			e := &StrandedError{Topic: topic, Held: held}
			for tp, end := range ends {
				e.Messages += end - max(committed[tp], starts[tp])
			}
			if e.Messages > 0 {
				errs = append(errs, e)
			}
		}
	}
	return errors.Join(errs...)
}

func (w *Worker) join() (*kafka.Member, error) {
	var topics []string
	for topic := range w.inputs {
		topics = append(topics, topic)
	}
	joined := make(chan struct{})
	// The group may assign before Join has returned.
	after := func(what string, do func([]streaming.TopicPartition)) func([]streaming.TopicPartition) {
		return func(tps []streaming.TopicPartition) {
			<-joined
			w.cfg.Logger.Info("partitions "+what, "agent", w.cfg.Agent, "partitions", tps)
			do(tps)
		}
	}
	m, err := kafka.Join(w.cfg.Kafka, kafka.GroupConfig{
		Group:            w.cfg.Group,
		Protocol:         w.cfg.GroupProtocol,
		Topics:           topics,
		SessionTimeout:   w.cfg.SessionTimeout,
		RebalanceTimeout: w.cfg.RebalanceTimeout,
		Assigned:         after("assigned", w.lanes.assigned),
		Revoked:          after("revoked", w.lanes.revoked),
		Lost:             after("lost", w.lanes.lost),
	})
	w.member = m
	close(joined)
	return m, err
}

// drain gives all lanes back.
func (w *Worker) drain() {
	w.lanes.revoked(w.lanes.owned())
}

// tend commits, trims and observes while the worker runs.
func (w *Worker) tend(ctx context.Context) {
	commit := time.NewTicker(w.cfg.CommitInterval)
	defer commit.Stop()
	observe := time.NewTicker(time.Second)
	defer observe.Stop()
	checkpoint := time.NewTicker(checkpointInterval)
	defer checkpoint.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-commit.C:
			w.commit(ctx, w.lanes.open(), false)
		case <-observe.C:
			for _, o := range w.lanes.open() {
				o.lane.Observe()
			}
			w.observe()
		case <-checkpoint.C:
			w.maintain(ctx)
		}
	}
}

// observe tells what holds this worker back.
func (w *Worker) observe() {
	_, open := w.breaker.Until()
	w.cfg.ObserveAgent.BreakerOpen(open)
	for limit, d := range w.limiter.Waited(w.cfg.Clock.Now()) {
		w.cfg.ObserveAgent.Limited(limit, d)
	}
}

// maintain does what is due each checkpointInterval.
func (w *Worker) maintain(ctx context.Context) {
	open := w.lanes.open()
	w.lanes.tellStanding()
	w.commit(ctx, open, true)
	w.checkpoint(open)
	w.trim(ctx, open)
}
