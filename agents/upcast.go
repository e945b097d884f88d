package agents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Upcast lets the handler of New take messages of Old's type too: each is
// converted first. It is for changes that Avro's schema resolution does not
// bridge, such as a field that is split; these have a message type of their own,
// for example quake.reported.v2. What it converts to may be converted on, by
// another upcaster.
//
// The handler sees the message as it was sent otherwise: Envelope.Type is Old's.
// The conversion should depend on the message alone. An error of it is a dead
// letter with the reason schema, as for any value that cannot be read; what
// RetryAfter, Unavailable, Permanent and DeadLetter return means what it says,
// and when the context has ended the message is handled again.
//
// An agent with an upcaster to a type without a handler, or in a circle, does
// not start.
func Upcast[Old, New schemas.Message](a *Agent, convert func(ctx context.Context, old *Old) (New, error)) {
	to, _, err := described[New]()
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	from, ok := register[Old](a, upcasting[Old, New]{agent: a, to: to, convert: convert})
	if ok {
		a.upcasts[from] = upcaster{to: to, fits: fits[New]}
	}
}

// upcaster is what is known of an upcaster without its types.
type upcaster struct {
	to   string
	fits func(streaming.Handler) error
}

// fits says whether a handler takes what an upcaster makes: two Go types may have
// one message type.
func fits[New schemas.Message](h streaming.Handler) error {
	if into := target(h.New()); reflect.TypeOf(into) != reflect.TypeFor[*New]() {
		return fmt.Errorf("makes %s, and the handler takes %s", reflect.TypeFor[New](), reflect.TypeOf(into).Elem())
	}
	return nil
}

// target is the part of a handler's value that holds the payload.
func target(payload any) any {
	if t, ok := payload.(streaming.Target); ok {
		return t.Target()
	}
	return payload
}

// upcastErrors says which upcasters lead nowhere.
func (a *Agent) upcastErrors() []error {
	var errs []error
	for _, from := range slices.Sorted(maps.Keys(a.upcasts)) {
		up := a.upcasts[from]
		if h := a.handlers[up.to]; h == nil {
			errs = append(errs, fmt.Errorf("the upcaster from %s leads to %s, which has no handler: add it with agents.On", from, up.to))
		} else if err := up.fits(h); err != nil {
			errs = append(errs, fmt.Errorf("the upcaster from %s to %s %w", from, up.to, err))
		}
		if circle := a.circle(from); slices.Min(circle) == from && len(circle) > 1 { // once, not for each of its members
			errs = append(errs, fmt.Errorf("upcasters go in a circle, %s: remove one of them", strings.Join(circle, " → ")))
		}
	}
	return errs
}

// circle returns the way from a type by upcasters back to it, or only that type.
func (a *Agent) circle(from string) []string {
	way := []string{from}
	for at := a.upcasts[from].to; !slices.Contains(way[1:], at); at = a.upcasts[at].to {
		way = append(way, at)
		if at == from {
			return way
		}
		if _, more := a.upcasts[at]; !more {
			break
		}
	}
	return way[:1]
}

// upcasting is a typed upcaster as the engine calls it: as the handler of Old.
type upcasting[Old, New schemas.Message] struct {
	agent   *Agent
	to      string
	convert func(context.Context, *Old) (New, error)
}

// old is a message to be converted.
type old[T any] struct{ payload T }

// Target implements streaming.Target.
func (o *old[T]) Target() any { return &o.payload }

// New implements streaming.Handler.
func (upcasting[Old, New]) New() any { return new(old[Old]) }

// Handle implements streaming.Handler.
func (u upcasting[Old, New]) Handle(ctx context.Context, d *streaming.Delivery) error {
	converted, err := u.convert(ctx, &d.Payload.(*old[Old]).payload)
	if err != nil {
		return unconverted(ctx, d.Envelope.Type, u.to, err)
	}
	next := u.agent.handlers[u.to]
	d.Payload = next.New()
	*target(d.Payload).(*New) = converted // fits has seen to it
	return next.Handle(ctx, d)
}

// unconverted is the outcome of a conversion that has failed. The end of the
// context and what is down are not the message's fault.
func unconverted(ctx context.Context, from, to string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if _, ok := errors.AsType[*streaming.RetryError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*streaming.UnavailableError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*streaming.DeadLetterError](err); ok {
		return err
	}
	return DeadLetter(streaming.ReasonSchema, fmt.Errorf("upcast %s to %s: %w", from, to, err))
}
