package contractnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// CallOption changes a negotiation.
type CallOption func(*opening)

type opening struct {
	id         string
	bids, work time.Duration
}

// ID names the negotiation, for example by what it is about. As long as the manager
// knows it, another one of the ID is not opened, and counted as a duplicate. Default:
// an ID derived from the message that is handled.
func ID(id string) CallOption { return func(o *opening) { o.id = id } }

// BidsFor is Config.Bids of this negotiation.
func BidsFor(d time.Duration) CallOption { return func(o *opening) { o.bids = d } }

// WorkFor is Config.Work of this negotiation.
func WorkFor(d time.Duration) CallOption { return func(o *opening) { o.work = d } }

// CallError says that a negotiation cannot be opened; nothing was staged. Returned by
// a handler it dead-letters the message as permanent.
type CallError struct {
	Name string
	Err  error
}

func (e *CallError) Error() string { return fmt.Sprintf("negotiation %s: %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }

// maxID is of a negotiation's ID, in bytes: it is the key of its messages and part of
// the name of its state.
const maxID = 512

// Call stages that a negotiation is opened, in any handler of the manager's agent, and
// returns its ID. The candidates are asked when the message has been handled. One
// that has no inbox is not asked; without candidates the negotiation ends at once,
// without bids. The message's deadline does not end the negotiation.
func (g *Manager[Task, Result]) Call(ctx context.Context, m Message, task Task, candidates []string, opts ...CallOption) (id string, err error) {
	d := m.Delivery()
	o := opening{bids: g.cfg.Bids, work: g.cfg.Work}
	o.id = schemas.DerivedID(d.Envelope.Source, d.Envelope.ID, d.Claim.Group+"/"+g.name, len(d.Outbox.Staged()))
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(candidates); err != nil {
		return "", agents.Permanent(&CallError{g.name, err})
	}
	value, err := g.agent.Platform().Codec().Encode(ctx, task)
	if err != nil {
		return "", &CallError{g.name, fmt.Errorf("encode the task: %w", err)}
	}
	return o.id, m.Send(g.agent.Name(), &Opening{
		Name: g.name, Task: value, Candidates: candidates, Bids: o.bids.Milliseconds(), Work: o.work.Milliseconds(),
	}, agents.Key(o.id), agents.Lasting())
}

func (o *opening) validate(candidates []string) error {
	switch {
	case o.id == "" || len(o.id) > maxID:
		return fmt.Errorf("an ID has 1 to %d bytes", maxID)
	case min(o.bids, o.work) < time.Millisecond:
		return errors.New("bids and work take at least a millisecond")
	}
	for i, c := range candidates {
		if err := schemas.ValidName(c); err != nil {
			return fmt.Errorf("candidate %d: %w", i+1, err)
		}
		if slices.Contains(candidates[:i], c) {
			return fmt.Errorf("%s is a candidate twice", c)
		}
	}
	return nil
}
