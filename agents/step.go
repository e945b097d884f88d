package agents

import (
	"context"
	"encoding/json"
	"fmt"
)

// Step does one part of a handler's work once and keeps its result: fn runs, its
// result is stored durably, then the handler goes on. When the message is
// handled again, after a failure, a crash, a rebalance or a redrive, the stored
// result is returned and fn does not run. It may run again only if the crash
// came before its result was stored: what it does elsewhere should be keyed by
// Message.ID and the step's name.
//
// The name is unique in the handler's run; in a loop it holds the loop's
// variable. The result is stored as JSON and read back from it, on the first run
// too: what JSON leaves out, such as unexported fields, is missing on each run
// alike. A result is kept until its message is done, in a dead letter too.
//
// An error of fn is returned as it is and not stored: fn runs again next time.
// The step's own errors are, to be found with errors.As, *streaming.StepClashError for a
// name that was used before and *streaming.StepTooLargeError for a result over
// Config.StepBytes or MessageStepBytes, both of which dead-letter the message as
// permanent if the handler returns them. Any other means that the result is not
// known to be stored or that the partition was taken away: the handler returns.
//
// Several goroutines of a handler may run steps of different names side by side,
// if the handler waits for them.
func Step[T, M any](ctx context.Context, m *Message[M], name string, fn func(ctx context.Context) (T, error)) (T, error) {
	var result, none T
	steps := m.out.cause.Steps
	encoded, stored, err := steps.Begin(ctx, name)
	if err != nil {
		return none, err
	}
	if !stored {
		made, err := fn(ctx)
		if err != nil {
			return none, err
		}
		if encoded, err = json.Marshal(made); err != nil {
			return none, Permanent(fmt.Errorf("step %q: encode its result: %w", name, err))
		}
		if err := steps.Store(ctx, name, encoded); err != nil {
			return none, err
		}
	}
	if err := json.Unmarshal(encoded, &result); err != nil {
		return none, fmt.Errorf("step %q: its stored result is not a %T: %w", name, result, err)
	}
	return result, nil
}
