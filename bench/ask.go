package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
)

const (
	nameRawAsk    = "raw request/reply"
	nameParleyAsk = "parley request/reply"
)

// askPeer sends requests at a fixed rate over one topic, has them answered over
// another, and returns the times from the call that asks to the answer.
type askPeer struct {
	name string
	run  func(ctx context.Context, e *env, o options, rate int) ([]time.Duration, error)
}

func askPeers() []askPeer { return []askPeer{{nameRawAsk, rawAsk}, {nameParleyAsk, parleyAsk}} }

// stopwatch takes the times of numbered messages. The first second is for
// connections and caches to warm up and does not count.
type stopwatch struct {
	warm int

	mu    sync.Mutex
	sent  []time.Time
	took  []time.Duration
	left  int
	all   chan struct{}
	extra int // answers beyond the first
}

func newStopwatch(messages, warm int) *stopwatch {
	return &stopwatch{warm: warm, sent: make([]time.Time, messages), took: make([]time.Duration, messages), left: messages, all: make(chan struct{})}
}

func (s *stopwatch) start(seq int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[seq] = time.Now()
}

// stop is called when the answer to a message is there, less what it was meant
// to wait.
func (s *stopwatch) stop(seq int, less time.Duration) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.took[seq] != 0 {
		s.extra++
		return
	}
	s.took[seq] = max(now.Sub(s.sent[seq])-less, 1)
	if s.left--; s.left == 0 {
		close(s.all)
	}
}

// wait returns the times when all answers are there, once each.
func (s *stopwatch) wait(ctx context.Context) ([]time.Duration, error) {
	select {
	case <-s.all:
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, fmt.Errorf("%d of %d are missing: %w", s.left, len(s.sent), context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra > 0 {
		return nil, fmt.Errorf("%d answers came twice", s.extra)
	}
	return s.took[s.warm:], nil
}

// pace calls do for each message at a fixed rate. It does not wait for do's
// effect, so that a slow answer does not slow the questions.
func pace(ctx context.Context, messages, perSecond int, do func(seq int)) {
	start := time.Now()
	for seq := range messages {
		if wait := time.Until(start.Add(time.Duration(seq) * time.Second / time.Duration(perSecond))); wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		do(seq)
	}
}

// askTimeout is what a round may take beyond the sending.
const askTimeout = 60 * time.Second

// repliesHeader says in a raw request which partition its asker reads.
const repliesHeader = "replies"

// rawAsk does by hand what parleyAsk has done for it, and no more. Who asks reads one
// partition of the replies' topic, without a group. Who answers is a group's consumer:
// it produces the reply, which all replicas acknowledge, and commits once a second the
// offsets of those whose replies are acknowledged. No record waits for others.
func rawAsk(ctx context.Context, e *env, o options, rate int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+time.Duration(o.seconds)*time.Second)
	defer cancel()
	id := shortID()
	requests, replies := e.namespace.Events("ask-"+id), e.namespace.Events("answer-"+id)
	if err := e.create(ctx, requests, replies); err != nil {
		return nil, err
	}
	const mine = partitions / 2 // of the replies
	both := []kgo.Opt{kgo.SeedBrokers(e.brokers...), kgo.ProducerLinger(0), kgo.FetchIsolationLevel(kgo.ReadCommitted())}
	ready := make(chan struct{})
	assigned := sync.OnceFunc(func() { close(ready) })
	server, err := kgo.NewClient(append(both, kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { assigned() }), kgo.ConsumerGroup(requests), kgo.ConsumeTopics(requests), kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	asker, err := kgo.NewClient(append(both, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{replies: {mine: kgo.NewOffset().AtStart()}}))...)
	if err != nil {
		return nil, err
	}
	defer asker.Close()

	messages := (o.seconds + 1) * rate
	watch := newStopwatch(messages, rate)
	failed := make(chan error, 1)
	fail := func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	running, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() {
		for running.Err() == nil {
			server.PollFetches(running).EachRecord(func(r *kgo.Record) {
				reply := &kgo.Record{Topic: replies, Partition: int32(r.Headers[0].Value[0]), Key: r.Key, Value: r.Value}
				server.Produce(ctx, reply, func(_ *kgo.Record, err error) {
					fail(err)
					server.MarkCommitRecords(r)
				})
			})
		}
	})
	all.Go(func() {
		for running.Err() == nil {
			asker.PollFetches(running).EachRecord(func(r *kgo.Record) {
				watch.stop(int(binary.BigEndian.Uint64(r.Value)), 0)
			})
		}
	})
	select {
	case <-ready: // as Parley's worker is
	case <-ctx.Done():
		return nil, fmt.Errorf("the raw peer has no partitions: %w", context.Cause(ctx))
	}
	pace(ctx, messages, rate, func(seq int) {
		value := binary.BigEndian.AppendUint64(make([]byte, 0, valueBytes), uint64(seq))
		watch.start(seq)
		asker.Produce(ctx, &kgo.Record{
			Topic: requests, Key: []byte(key(seq % o.keys)), Value: value[:valueBytes],
			Headers: []kgo.RecordHeader{{Key: repliesHeader, Value: []byte{mine}}},
		}, func(_ *kgo.Record, err error) { fail(err) })
	})
	took, err := watch.wait(ctx)
	select {
	case late := <-failed:
		err = errors.Join(err, late)
	default:
	}
	if err != nil {
		return nil, err
	}
	_, err = e.admin.DeleteTopics(ctx, requests, replies)
	return took, err
}

// parleyAsk has a requester's requests answered by an agent.
func parleyAsk(ctx context.Context, e *env, o options, rate int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+time.Duration(o.seconds)*time.Second)
	defer cancel()
	id := shortID()
	messages := (o.seconds + 1) * rate
	watch := newStopwatch(messages, rate)

	answerer := agents.New("answerer-"+id, agents.Config{})
	agents.On(answerer, func(_ context.Context, m *agents.Message[Reading]) error {
		return m.Reply(result(&m.Payload))
	})
	stop, err := runAll(ctx, e, answerer)
	if err != nil {
		return nil, err
	}
	r, err := e.platform.Requester(ctx, "asker-"+id)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	defer r.Close()
	failed := make(chan error, 1)
	var asks sync.WaitGroup
	pace(ctx, messages, rate, func(seq int) {
		watch.start(seq)
		asks.Go(func() {
			answer, err := agents.Request[Result](ctx, r, answerer.Name(), reading(int64(seq)), agents.Key(key(seq%o.keys)))
			if err == nil && answer.Seq != int64(seq) {
				err = fmt.Errorf("request %d has the answer to %d", seq, answer.Seq)
			}
			if err != nil {
				select {
				case failed <- err:
				default:
				}
				return
			}
			watch.stop(seq, 0)
		})
	})
	asks.Wait()
	took, err := watch.wait(ctx)
	select {
	case late := <-failed:
		err = errors.Join(err, late)
	default:
	}
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	_, err = e.admin.DeleteTopics(ctx, e.namespace.Replies("asker-"+id))
	return took, errors.Join(err, e.removeOf(ctx, answerer.Name()))
}

// runAll runs agents and waits until they are ready. stop drains them.
func runAll(ctx context.Context, e *env, all ...*agents.Agent) (stop func() error, err error) {
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, len(all))
	started := 0
	stop = func() error {
		cancel()
		var errs []error
		for range started {
			errs = append(errs, <-ended)
		}
		return errors.Join(errs...)
	}
	for _, a := range all {
		w, err := e.platform.Worker(a)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		started++
		go func() { ended <- w.Run(running) }()
		select {
		case <-w.Ready():
		case err := <-ended:
			started--
			return nil, errors.Join(err, stop())
		}
	}
	return stop, nil
}
