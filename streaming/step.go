package streaming

import (
	"context"
	"errors"
	"fmt"
)

// Steps keeps the results of a message's finished steps: until the message is
// done, through retries, crashes, rebalances and its dead letter. It may be used
// by several goroutines of one handler.
type Steps interface {
	// Begin returns the stored result of a step, if there is one. A name that
	// was begun in this run before is a StepClashError. When the lane is lost,
	// nothing may go on: that is an error.
	Begin(ctx context.Context, name string) (result []byte, stored bool, err error)
	// Store returns when the result of a step that was begun is durable, and
	// its writer still the owner of the lane. Parts of a streamed answer are sent
	// with it: exactly once both or neither can be read; at least once the result is
	// durable first, so that a later run knows what may have been sent.
	Store(ctx context.Context, name string, result []byte, parts ...Outgoing) error
}

// MaxStepName is the bound of a step's name, in bytes.
const MaxStepName = 128

// ErrStepName says that a step's name is empty or longer than MaxStepName.
var ErrStepName = errors.New("a step's name has 1 to 128 bytes")

// ErrStepTooLate says that a handler's goroutine has gone on with a step after
// the handler had returned.
var ErrStepTooLate = errors.New("the handler has returned already")

// StepClashError says that one run of a handler has used a step's name twice:
// the second would get the first one's result.
type StepClashError struct{ Step string }

func (e *StepClashError) Error() string {
	return fmt.Sprintf("step %q: the name is used twice in one run of the handler", e.Step)
}

// StepTooLargeError says that a step's result was not stored for its size.
type StepTooLargeError struct {
	Step    string
	Size    int  // bytes: of the result, or of all results of the message
	Limit   int  // bytes
	Message bool // the limit is that of all steps of a message
}

func (e *StepTooLargeError) Error() string {
	what := "its result has"
	if e.Message {
		what = "with it the results of the message have"
	}
	return fmt.Sprintf("step %q: %s %d bytes, the limit is %d", e.Step, what, e.Size, e.Limit)
}
