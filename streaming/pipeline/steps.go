package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// attemptSteps are the steps of one run of a handler.
type attemptSteps struct {
	l   *Lane
	c   *lane.Copy
	m   *message
	ctx context.Context // of the run: it ends with the lane's ownership

	mu    sync.Mutex
	begun map[string]bool // nil before the first
	ended bool
}

// Begin implements streaming.Steps.
func (s *attemptSteps) Begin(ctx context.Context, name string) ([]byte, bool, error) {
	if err := s.begin(name); err != nil {
		return nil, false, err
	}
	ctx, cancel := s.joined(ctx)
	defer cancel()
	for {
		known := s.l.steps.find(s.c.ID, name)
		if known == nil {
			return nil, false, s.interrupted(ctx, name)
		}
		if known.acked != nil { // perhaps an earlier run's, which has not waited for it
			select {
			case <-known.acked:
			case <-ctx.Done():
				return nil, false, s.interrupted(ctx, name)
			}
			if s.l.steps.find(s.c.ID, name) != known {
				continue
			}
		}
		result, err := s.l.stepResult(ctx, known)
		if err == nil {
			err = s.interrupted(ctx, name)
		}
		return result, err == nil, err
	}
}

func (s *attemptSteps) begin(name string) error {
	if name == "" || len(name) > streaming.MaxStepName {
		return permanent(fmt.Errorf("step %q: %w", name, streaming.ErrStepName))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return streaming.ErrStepTooLate
	case s.begun[name]:
		return permanent(&streaming.StepClashError{Step: name})
	}
	if s.begun == nil {
		s.begun = make(map[string]bool)
	}
	s.begun[name] = true
	return nil
}

// Store implements streaming.Steps.
func (s *attemptSteps) Store(ctx context.Context, name string, result []byte, parts ...streaming.Outgoing) error {
	l := s.l
	if len(result) > l.cfg.StepBytes {
		return permanent(&streaming.StepTooLargeError{Step: name, Size: len(result), Limit: l.cfg.StepBytes})
	}
	ctx, cancel := s.joined(ctx)
	defer cancel()
	if err := s.interrupted(ctx, name); err != nil {
		return err
	}
	made := &step{id: s.c.ID, name: name, origin: s.c.Origin, size: len(result)}
	rec, err := l.stepRecord(ctx, made, result)
	if err != nil {
		return &streaming.UnavailableError{Err: fmt.Errorf("step %q: %w", name, err)}
	}
	recs := []*streaming.Record{rec}
	for i := range parts {
		recs = append(recs, l.caused(s.m, &parts[i], PartPosition(parts[i].Envelope.Sequence), l.cfg.Clock.Now()))
	}
	stored := make(chan error, 1)
	if err := s.post(made, func() { l.storeStep(s.c, made, recs, result, func(err error) { stored <- err }) }); err != nil {
		return err
	}
	select {
	case err = <-stored:
	case <-ctx.Done():
	}
	if err != nil {
		return fmt.Errorf("step %q: %w", name, err)
	}
	return s.interrupted(ctx, name)
}

// post enters a step and hands it to the lane: before the end of its run is, so
// that a step is never stored after the message's own mark.
func (s *attemptSteps) post(made *step, event func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return streaming.ErrStepTooLate
	}
	if size, ok := s.l.steps.reserve(made, s.l.cfg.MessageStepBytes); !ok {
		return permanent(&streaming.StepTooLargeError{Step: made.name, Size: size, Limit: s.l.cfg.MessageStepBytes, Message: true})
	}
	s.l.post(event)
	return nil
}

// end tells that the handler has returned.
func (s *attemptSteps) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// joined is a context that ends with the caller's and with the run's.
func (s *attemptSteps) joined(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// interrupted is why a handler may not go on, or nil. A run that has lost its
// lane never goes on, whatever context its handler has passed.
func (s *attemptSteps) interrupted(ctx context.Context, name string) error {
	cause := context.Cause(s.ctx)
	if cause == nil {
		cause = context.Cause(ctx)
	}
	if cause == nil {
		return nil
	}
	return fmt.Errorf("step %q: %w", name, cause)
}

func permanent(err error) error { return streaming.DeadLetter(streaming.ReasonPermanent, err) }

// stepRecord is a step as a record of its own in the ledger: its size is its
// handler's choice, and it must not make a batch of marks too large.
func (l *Lane) stepRecord(ctx context.Context, s *step, result []byte) (*streaming.Record, error) {
	value, err := schemas.EncodeMarks(ctx, l.cfg.Codec, []streaming.Mark{{
		Kind: streaming.MarkStep, ID: s.id, Origin: s.origin, Epoch: l.epoch, Time: l.cfg.Clock.Now(), Step: s.name, Result: result,
	}})
	if err != nil {
		return nil, err
	}
	return &streaming.Record{Topic: l.cfg.LedgerTopic, Partition: l.cfg.Partition, Value: value}, nil
}

// storeStep makes a step durable. Exactly once: in a transaction of its own or
// with what else is settled already; it waits for no handler.
func (l *Lane) storeStep(runner *lane.Copy, s *step, recs []*streaming.Record, result []byte, done func(error)) {
	if l.failure != nil {
		l.steps.failed(s)
		done(l.failure)
		return
	}
	c := &conclusion{runner: runner, recs: recs, leading: min(1, len(recs)-1)}
	c.settled = func(offsets []int64, _ int64) {
		l.steps.stored(s, offsets[0], result)
		for i, part := range c.recs[1:] {
			if !c.isUnsent(1 + i) {
				l.cfg.Observer.Sent(part.Topic, 1)
			}
		}
		done(nil)
	}
	c.refused = func(err error) {
		l.steps.failed(s)
		if errors.Is(err, streaming.ErrRecordTooLarge) {
			err = permanent(err)
		}
		done(err)
	}
	l.conclude(c)
}

// stepResult returns a stored result, from memory or from the ledger.
func (l *Lane) stepResult(ctx context.Context, s *step) ([]byte, error) {
	for {
		offset, result := l.steps.read(s)
		if result != nil {
			return result, nil
		}
		marks, err := l.loadMarks(ctx, offset)
		for _, m := range marks {
			if m.Kind == streaming.MarkStep && m.ID == s.id && m.Step == s.name {
				return m.Result, nil
			}
		}
		if now, _ := l.steps.read(s); now != offset {
			continue // carried forward and trimmed meanwhile
		}
		if err == nil {
			err = errors.New("the ledger's record does not hold it")
		}
		return nil, &streaming.UnavailableError{Err: fmt.Errorf("step %q: cannot read its result again: %w", s.name, err)}
	}
}

func (l *Lane) loadMarks(ctx context.Context, offset int64) ([]streaming.Mark, error) {
	rec, err := l.cfg.Loader.Load(ctx, l.cfg.LedgerTopic, l.cfg.Partition, offset)
	if err != nil {
		return nil, err
	}
	return schemas.DecodeMarks(ctx, l.cfg.Codec, rec.Value)
}
