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
	"github.com/seed-c9b6dc07/parley/streaming"
)

const (
	nameRawAsk    = "raw request/reply"
	nameParleyAsk = "parley request/reply"
)

// askPeer sends requests at a fixed rate over one topic, has them answered over
// another, and returns the times from the call that sends to the reply's
// handler.
type askPeer struct {
	name string
	run  func(ctx context.Context, e *env, o options, round int) ([]time.Duration, error)
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

func rawAsk(ctx context.Context, e *env, o options, _ int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+time.Duration(o.seconds)*time.Second)
	defer cancel()
	id := shortID()
	requests, replies := e.namespace.Events("ask-"+id), e.namespace.Events("answer-"+id)
	if err := e.create(ctx, requests, replies); err != nil {
		return nil, err
	}
	client := func(topic string) (*kgo.Client, error) {
		return kgo.NewClient(kgo.SeedBrokers(e.brokers...), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerLinger(0), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	server, err := client(requests)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	asker, err := client(replies)
	if err != nil {
		return nil, err
	}
	defer asker.Close()

	messages := (o.seconds + 1) * o.rate
	watch := newStopwatch(messages, o.rate)
	failed := make(chan error, 1)
	fail := func(_ *kgo.Record, err error) {
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
				server.Produce(ctx, &kgo.Record{Topic: replies, Key: r.Key, Value: r.Value}, fail)
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
	pace(ctx, messages, o.rate, func(seq int) {
		value := binary.BigEndian.AppendUint64(make([]byte, 0, valueBytes), uint64(seq))
		watch.start(seq)
		asker.Produce(ctx, &kgo.Record{Topic: requests, Key: []byte(key(seq % o.keys)), Value: value[:valueBytes]}, fail)
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

// parleyAsk is two agents: one asks, one answers.
func parleyAsk(ctx context.Context, e *env, o options, _ int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+time.Duration(o.seconds)*time.Second)
	defer cancel()
	id := shortID()
	messages := (o.seconds + 1) * o.rate
	watch := newStopwatch(messages, o.rate)

	answerer := agents.New("answerer-"+id, agents.Config{})
	agents.On(answerer, func(_ context.Context, m *agents.Message[Reading]) error {
		return m.Reply(result(&m.Payload), agents.Key(m.Key))
	})
	asker := agents.New("asker-"+id, agents.Config{})
	agents.On(asker, func(_ context.Context, m *agents.Message[Result]) error {
		watch.stop(int(m.Payload.Seq), 0)
		return nil
	})
	stop, err := runAll(ctx, e, answerer, asker)
	if err != nil {
		return nil, err
	}
	sender, err := e.platform.Sender(asker.Name())
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	defer sender.Close()
	failed := make(chan error, 1)
	var sends sync.WaitGroup
	pace(ctx, messages, o.rate, func(seq int) {
		watch.start(seq)
		sends.Go(func() {
			err := sender.Send(ctx, sender.ToAgent(answerer.Name(), reading(int64(seq)),
				agents.Key(key(seq%o.keys)), agents.Kind(streaming.KindRequest)))
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	})
	sends.Wait()
	took, err := watch.wait(ctx)
	select {
	case late := <-failed:
		err = errors.Join(err, late)
	default:
	}
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	return took, errors.Join(
		e.removeOf(ctx, answerer.Name()), e.removeOf(ctx, asker.Name()))
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
