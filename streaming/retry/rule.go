package retry

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Rule is the policy for some errors. A zero field is the policy's own.
type Rule struct {
	// Match says for which errors; required. Is, As and Because make it. It must
	// not block; if it panics, it does not match.
	Match func(error) bool
	// Attempts is at how many handler attempts of the message, whatever each has
	// failed of, a failure that matches is its last. 1 is dead at once.
	Attempts int
	// Delays are the waits in place of the tiers: the first failure waits for the
	// first, the last serves all that follow. They need not be tiers: a message
	// waits in the largest tier that its delay fills, for its own time.
	Delays []time.Duration
}

// Is matches errors that are, or wrap, one of these (errors.Is).
func Is(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
}

// As matches errors that are, or wrap, an E (errors.As).
func As[E error]() func(error) bool {
	return func(err error) bool {
		_, ok := errors.AsType[E](err)
		return ok
	}
}

// Because matches errors with one of these reasons of the closed set, such as
// timeout or panic.
func Because(reasons ...streaming.Reason) func(error) bool {
	return func(err error) bool {
		r, ok := schemas.ErrorReason(err)
		if !ok {
			r = streaming.ReasonOf(err)
		}
		return slices.Contains(reasons, r)
	}
}

// rule returns the first that matches; else the zero Rule, which changes
// nothing.
func (p Policy) rule(err error) Rule {
	for _, r := range p.Rules {
		if r.matches(err) {
			return r
		}
	}
	return Rule{}
}

// matches keeps an author's panic from ending the worker.
func (r Rule) matches(err error) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return r.Match(err)
}

func (r Rule) validate(number int) error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("retry rule %d: "+format, append([]any{number}, args...)...))
	}
	if r.Match == nil {
		wrong("it has no Match: say for which errors, as with retry.Is")
	}
	if r.Attempts < 0 {
		wrong("attempts are %d: 0 means the policy's, 1 dead at once", r.Attempts)
	}
	if r.Attempts == 0 && len(r.Delays) == 0 {
		wrong("it changes nothing: set Attempts or Delays")
	}
	for _, d := range r.Delays {
		if d < time.Millisecond || d%time.Millisecond != 0 {
			wrong("delay %s: whole milliseconds are needed", d)
		}
	}
	return errors.Join(errs...)
}
