package pipeline

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// attempted is what one attempt came to.
type attempted struct {
	err     error
	outputs []*streaming.Record
	ack     *streaming.Record // sent with the outputs; its loss fails nothing
	ran     bool              // the handler was started: the attempt counts
	took    time.Duration
}

// attempt decodes the payload and runs the handler, on a goroutine of its own.
func (l *Lane) attempt(ctx context.Context, s start) attempted {
	c, m := s.c, s.m
	if err := l.admit(m, l.cfg.Clock.Now()); err != nil {
		return attempted{err: err}
	}
	handler := l.cfg.Handlers[m.env.Type]
	payload := handler.New()
	if err := l.cfg.Codec.Decode(ctx, m.rec.Value, payload, m.env.Type); err != nil {
		if reason, ok := schemas.ErrorReason(err); ok {
			err = streaming.DeadLetter(reason, err)
		} else {
			err = &streaming.UnavailableError{Err: err}
		}
		return attempted{err: err}
	}

	if l.cfg.HandlerTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.cfg.HandlerTimeout, streaming.ErrHandlerTimeout)
		defer cancel()
	}
	if !m.env.Expiry.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, m.env.Expiry)
		defer cancel()
	}
	steps := &attemptSteps{l: l, c: c, ctx: ctx, begun: make(map[string]bool)}
	d := &streaming.Delivery{
		Envelope: m.env, Key: string(m.rec.Key), Payload: payload, Attempt: s.number, Outbox: &streaming.Outbox{}, Steps: steps,
	}
	if s.permit != nil {
		d.Spend = func(tokens float64) { s.permit.spend(l.cfg.Clock.Now(), tokens) }
	}
	start := l.cfg.Clock.Now()
	err := guarded(ctx, handler, d)
	steps.end()
	now := l.cfg.Clock.Now()
	a := attempted{err: err, ran: true, took: now.Sub(start)}
	if err != nil {
		var registry *schemas.RegistryUnavailableError
		if errors.As(err, &registry) {
			a.err = &streaming.UnavailableError{Err: err} // something it wanted to send could not be encoded
		}
		if cause := context.Cause(ctx); errors.Is(cause, streaming.ErrHandlerTimeout) {
			a.err = errors.Join(cause, err)
		}
		return a
	}
	for i := range d.Outbox.Staged() {
		a.outputs = append(a.outputs, l.caused(m, &d.Outbox.Staged()[i], i, now))
	}
	if m.env.Ack == streaming.AckHandled {
		if a.ack, err = l.ack(ctx, m, streaming.AckHandled, now); err != nil {
			a.err = &streaming.UnavailableError{Err: err}
		}
	}
	return a
}

// guarded turns a panic into an error with its stack.
func guarded(ctx context.Context, h streaming.Handler, d *streaming.Delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &streaming.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return h.Handle(ctx, d)
}
