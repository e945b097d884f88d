package streamtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// watched is a handler whose runs are recorded.
type watched struct {
	streaming.Handler
	p *process
}

// Handle implements streaming.Handler.
func (w watched) Handle(ctx context.Context, d *streaming.Delivery) error {
	p := w.p
	if p.dead.Load() {
		return errDead
	}
	h := p.slot.m.history
	r := &run{
		started: p.clock.Now(), agent: p.slot.agent.number, process: p.name, id: msgID{d.Envelope.Source, d.Envelope.ID},
		key: d.Key, attempt: d.Attempt, due: d.Envelope.DeliverAt, expiry: d.Envelope.Expiry,
	}
	h.started(r)
	p.begins(d.Claim)
	watching := *d
	watching.Steps = watchedSteps{d.Steps, h, r, func() { p.begins(d.Claim) }}
	err := w.guarded(context.WithValue(ctx, processKey{}, p), &watching)
	r.ended = p.clock.Now()
	if p.dead.Load() {
		return errDead
	}
	if err == nil {
		if c := p.at(StepEffect); c != nil {
			if c.after {
				h.ended(r, nil)
			}
			p.die(c.name(p.slot.agent.cfg.ExactlyOnce))
			return errDead
		}
	} else {
		p.slot.agent.judge(ctx, r, err)
	}
	r.outputs = len(d.Outbox.Staged())
	for i, out := range d.Outbox.Staged() {
		if out.Forward {
			r.forwards = append(r.forwards, i)
		}
		if out.IfTopicExists {
			if r.unowed == nil {
				r.unowed = make(map[int]string)
			}
			r.unowed[i] = out.Topic
		}
	}
	h.ended(r, err)
	return err
}

// watch is the handler with its runs recorded; one that forwards still says so.
func watch(h streaming.Handler, p *process) streaming.Handler {
	if f, ok := h.(streaming.Forwarder); ok {
		return struct {
			watched
			streaming.Forwarder
		}{watched{h, p}, f}
	}
	return watched{h, p}
}

// judge notes what has to become of a failed run, as the engine sees it.
func (a *agent) judge(ctx context.Context, r *run, err error) {
	var unavailable *streaming.UnavailableError
	switch cause := context.Cause(ctx); {
	case errors.As(err, &unavailable):
		r.again = true
		return
	case errors.Is(cause, streaming.ErrHandlerTimeout):
		err = errors.Join(cause, err)
	case errors.Is(cause, context.Canceled): // by the worker; a deadline is the message's own
		r.again = true
		return
	}
	v := a.cfg.Retry.Judge(r.attempt, err)
	r.delay, r.dead, r.inMemory = v.Delay, v.Dead, v.Tier == 0
}

// guarded turns a panic into the error that it becomes.
func (w watched) guarded(ctx context.Context, d *streaming.Delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &streaming.PanicError{Value: v}
		}
	}()
	return w.Handler.Handle(ctx, d)
}

type processKey struct{}

// Kill ends the process of a simulated worker as a handler does that takes all
// memory: nothing of it reaches the broker any more. The handler returns its
// result. Outside a simulation it only says so.
func Kill(ctx context.Context) error {
	p, ok := ctx.Value(processKey{}).(*process)
	if !ok {
		return errors.New("no simulation: there is no process to be killed")
	}
	p.die(handlerKills)
	return errDead
}

// Violation notes, from a handler, that something which the test's own agents
// promise does not hold: the simulation fails. The handler returns its result.
func Violation(ctx context.Context, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if p, ok := ctx.Value(processKey{}).(*process); ok {
		p.slot.m.history.violates(err.Error())
	}
	return err
}

// handlerKills counts them.
const handlerKills = "handler kills its process"

// stepID is one durable step of one message at one agent.
type stepID struct {
	agent int
	id    msgID
	name  string
}

// result is what a step has come to.
type result struct {
	value  string
	stored time.Time // when its first storing was known to be durable
	again  []string  // its function has run after that
	bad    []string
}

// watchedSteps hold what a handler is told against what was stored.
type watchedSteps struct {
	streaming.Steps
	h *history
	r *run

	begins func()
}

// Begin implements streaming.Steps.
func (w watchedSteps) Begin(ctx context.Context, name string) ([]byte, bool, error) {
	value, stored, err := w.Steps.Begin(ctx, name)
	if err == nil {
		w.begins()
		w.h.stepBegun(w.r, name, value, stored)
	}
	return value, stored, err
}

// Store implements streaming.Steps.
func (w watchedSteps) Store(ctx context.Context, name string, value []byte, parts ...streaming.Outgoing) error {
	w.h.partsSent(w.r, parts)
	err := w.Steps.Store(ctx, name, value, parts...)
	if err == nil {
		w.h.stepStored(w.r, name, value)
	}
	return err
}
