package pipeline

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// attempt is one attempt of a message, with what it comes to and how that is concluded,
// in one piece.
type attempt struct {
	c      *lane.Copy
	m      *message
	number int
	permit *permit

	attempted
	settled    func()        // the handler's Delivery.Settled
	state      *attemptState // nil: none was used
	ended      time.Time
	answer     []*streaming.Record // of outputs: what is kept for duplicates
	conclusion conclusion
	one        [1]*streaming.Record
}

// visit is what a handler is given of an attempt. It is apart, and let go when
// the handler has returned: with the payload it is the larger part of a message
// that waits for its acknowledgements.
type visit struct {
	delivery streaming.Delivery
	outbox   streaming.Outbox
	steps    attemptSteps
	state    attemptState
	budget   streaming.Allowance
}

// attempted is what an attempt came to.
type attempted struct {
	err     error
	outputs []*streaming.Record
	changes int               // how many of outputs, the first, are of the state
	ack     *streaming.Record // sent with the outputs; its loss fails nothing
	ran     bool              // the handler was started: the attempt counts
	took    time.Duration
}

// handle decodes the payload and runs the handler, on a goroutine of its own.
func (l *Lane) handle(ctx context.Context, a *attempt) {
	m := a.m
	start := l.cfg.Clock.Now()
	if a.err = l.admit(m, start); a.err != nil {
		return
	}
	handler := l.handler(m)
	payload := handler.New()
	into := payload
	if t, ok := payload.(streaming.Target); ok {
		into = t.Target()
	}
	if raw, ok := into.(*streaming.Raw); ok {
		raw.Value = m.rec.Value
	} else if err := l.cfg.Codec.Decode(ctx, m.rec.Value, into, m.env.Type); err != nil {
		if reason, ok := schemas.ErrorReason(err); ok {
			a.err = streaming.DeadLetter(reason, err)
		} else {
			a.err = &streaming.UnavailableError{Err: err}
		}
		return
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
	v := &visit{}
	v.steps.l, v.steps.c, v.steps.m, v.steps.ctx = l, a.c, m, ctx
	v.state.l, v.state.id, v.state.key = l, a.c.ID, a.c.Key
	v.budget.Give(m.env.Budget)
	v.delivery = streaming.Delivery{
		Envelope: &m.env, Key: m.key, Payload: payload, Attempt: a.number, Outbox: &v.outbox, Steps: &v.steps, State: &v.state, Budget: &v.budget,
		Claim: streaming.Claim{Group: l.cfg.Group, Topic: l.cfg.Topic, Partition: l.cfg.Partition, Epoch: l.epoch},
	}
	if l.cfg.Fits != nil {
		v.delivery.Fits = func(out *streaming.Outgoing) error { return l.fits(m, out) }
	}
	if p := a.permit; p != nil {
		v.delivery.Spend = func(tokens float64) { p.spend(l.cfg.Clock.Now(), tokens) }
	}
	err := guarded(ctx, handler, &v.delivery)
	v.steps.end()
	v.state.end()
	if len(v.state.used) > 0 {
		a.state = &v.state
	}
	a.settled = v.delivery.Settled
	a.ended = l.cfg.Clock.Now()
	a.err, a.ran, a.took = err, true, a.ended.Sub(start)
	if unit, refused := v.budget.Refused(); refused {
		l.cfg.Observer.BudgetExhausted(unit)
	}
	if err != nil {
		var registry *schemas.RegistryUnavailableError
		if errors.As(err, &registry) {
			a.err = &streaming.UnavailableError{Err: err} // something it wanted to send could not be encoded
		}
		if cause := context.Cause(ctx); errors.Is(cause, streaming.ErrHandlerTimeout) {
			a.err = errors.Join(cause, err)
		}
		a.err = tooLarge(a.err)
		return
	}
	staged, rest := v.outbox.Staged(), v.budget.Rest()
	if a.err = l.loops(m, staged); a.err != nil {
		return
	}
	a.outputs = a.one[:0]
	for i := range staged {
		staged[i].Envelope.Budget = streaming.LowerBudget(rest, staged[i].Envelope.Budget)
		a.outputs = append(a.outputs, l.caused(m, &staged[i], i, a.ended))
	}
	if a.state != nil {
		changes := a.state.records()
		a.changes = len(changes)
		a.outputs = append(changes, a.outputs...)
	}
	if m.env.Ack == streaming.AckHandled && !forwards(handler) {
		if a.ack, err = l.ack(ctx, m, streaming.AckHandled, a.ended); err != nil {
			a.err = &streaming.UnavailableError{Err: err}
		}
	}
}

// surelySmall is a message that is under any limit there is, whatever is added to it.
const surelySmall = 16 << 10

// fits reports a message that is over its topic's limit, with all that is added to it
// when it is sent.
func (l *Lane) fits(m *message, out *streaming.Outgoing) error {
	if len(out.Value)+len(out.Key) <= surelySmall {
		return nil
	}
	whole := *out
	return l.cfg.Fits(l.caused(m, &whole, 0, l.cfg.Clock.Now()))
}

// tooLarge makes the error of a handler that has returned what Outbox gave it a dead
// letter: it will be no less on the next run. What else the handler says stands.
func tooLarge(err error) error {
	var retry *streaming.RetryError
	var dead *streaming.DeadLetterError
	var unavailable *streaming.UnavailableError
	var large *streaming.RecordTooLargeError
	if !errors.As(err, &large) || errors.As(err, &retry) || errors.As(err, &dead) || errors.As(err, &unavailable) {
		return err
	}
	return streaming.DeadLetter(streaming.ReasonTooLarge, err)
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
