package streaming

import (
	"errors"
	"fmt"
	"time"
)

// RetryError makes a message be tried again at a time the handler names
// instead of the one its policy names. The attempt counts.
type RetryError struct {
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string {
	return fmt.Sprintf("retry after %s: %v", e.After, e.Err)
}

// Unwrap returns the cause.
func (e *RetryError) Unwrap() error { return e.Err }

// DeadLetterError ends a message in its dead-letter topic without a retry.
type DeadLetterError struct {
	Reason Reason
	Err    error
}

func (e *DeadLetterError) Error() string {
	return fmt.Sprintf("dead letter (%s): %v", e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *DeadLetterError) Unwrap() error { return e.Err }

// UnavailableError says that something the handler needs is down: it is not the
// message's fault. No attempt is counted; the agent pauses and probes.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return fmt.Sprintf("unavailable: %v", e.Err) }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// PanicError is what a handler's panic becomes.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ReasonOf returns the closed reason of an error that a handler or a stage
// returned. An error that names none is ReasonHandler.
func ReasonOf(err error) Reason {
	var dead *DeadLetterError
	if errors.As(err, &dead) {
		return dead.Reason
	}
	var p *PanicError
	if errors.As(err, &p) {
		return ReasonPanic
	}
	if errors.Is(err, ErrHandlerTimeout) {
		return ReasonTimeout
	}
	return ReasonHandler
}

// ErrHandlerTimeout is the cause of a handler's context when it ran longer than
// its agent allows.
var ErrHandlerTimeout = errors.New("handler timeout")

// DeadLetter returns an error that dead-letters the message with that reason.
func DeadLetter(reason Reason, err error) error {
	return &DeadLetterError{Reason: reason, Err: err}
}
