package board

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Set gives a key a value, whatever it has, and returns the new version. It asks
// the keeper and waits for its answer: deadline and errors are those of
// agents.Request. After an error other than a conflict the value may have been set,
// or may still be; with the same agents.ID it is set once, however often it is asked
// for.
func (b *Board[T]) Set(ctx context.Context, r *agents.Requester, key string, value T, opts ...agents.Option) (version int64, err error) {
	return b.CompareAndSet(ctx, r, key, value, Any, opts...)
}

// CompareAndSet gives a key a value if the key has that version, or, with Absent, no
// value. Else the error is a *ConflictError[T], with the version and the value that
// the key has. For the rest it is as Set.
func (b *Board[T]) CompareAndSet(ctx context.Context, r *agents.Requester, key string, value T, expected int64, opts ...agents.Option) (version int64, err error) {
	p, err := b.Proposal(ctx, r.Platform(), value, expected)
	if err != nil {
		return 0, err
	}
	return b.ask(ctx, r, key, p, opts)
}

// Delete removes a key's value if the key has the expected version, which may be
// Any. That is a version too, and it is returned: the next value has the one after
// it.
func (b *Board[T]) Delete(ctx context.Context, r *agents.Requester, key string, expected int64, opts ...agents.Option) (version int64, err error) {
	p, err := b.Deletion(expected)
	if err != nil {
		return 0, err
	}
	return b.ask(ctx, r, key, p, opts)
}

func (b *Board[T]) ask(ctx context.Context, r *agents.Requester, key string, p *schemas.BoardProposal, opts []agents.Option) (int64, error) {
	if key == "" {
		return 0, errNoKey
	}
	answer, err := agents.Request[schemas.BoardAnswer](ctx, r, b.Agent(), p, append(opts[:len(opts):len(opts)], agents.Key(key))...)
	if err != nil {
		return 0, err
	}
	return b.Answer(ctx, r.Platform(), &answer)
}

var errNoKey = errors.New("a key of a board is not empty")

// Update sets a key to what change makes of its value in the view, and tries again
// from what the key has then for as long as others are faster. change may be called
// often and does nothing else; what it has returned last stands. An error of change, or one
// of CompareAndSet but a conflict, ends it.
func (b *Board[T]) Update(ctx context.Context, r *agents.Requester, view *View[T], key string, change func(current T, exists bool) (T, error)) (version int64, err error) {
	var conflict *ConflictError[T]
	for pause := time.Duration(0); ; {
		value, at, exists := view.Get(key)
		if conflict != nil && conflict.Current > at {
			value, at, exists = conflict.Value, conflict.Current, conflict.Exists // the view is behind it
		}
		if !exists {
			at = Absent
		}
		next, err := change(value, exists)
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		version, err := b.CompareAndSet(ctx, r, key, next, at)
		if !errors.As(err, &conflict) {
			return version, err
		}
		// Many at once wait for the keeper, and for as long what they know grows old:
		// they spread over twice the time that they have waited.
		pause = min(2*max(pause, time.Since(begin)), maxPause)
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return 0, errors.Join(context.Cause(ctx), conflict)
		}
	}
}

// maxPause bounds the time between two tries of Update.
const maxPause = 15 * time.Second

// Proposer is a message that is being handled, as Propose needs it: a *Message of
// any type.
type Proposer interface {
	agents.Handled
	Platform() *agents.Platform
	Send(agent string, payload schemas.Message, opts ...agents.Option) error
}

// Propose stages a proposal from a handler. It is sent when the handler has
// succeeded, and the answer comes to the agent's inbox under the board's key: as
// schemas.BoardAnswer, which Answer reads, or, where the proposal is dead, as
// schemas.ErrorReply. An agent that wants to hear of neither makes it a command:
// agents.Kind(streaming.KindCommand).
func (b *Board[T]) Propose(ctx context.Context, m Proposer, key string, value T, expected int64, opts ...agents.Option) error {
	p, err := b.Proposal(ctx, m.Platform(), value, expected)
	if err != nil {
		return err
	}
	return b.stage(m, key, p, opts)
}

// ProposeDeletion stages the deletion of a key, as Propose does for a value.
func (b *Board[T]) ProposeDeletion(m Proposer, key string, expected int64, opts ...agents.Option) error {
	p, err := b.Deletion(expected)
	if err != nil {
		return err
	}
	return b.stage(m, key, p, opts)
}

func (b *Board[T]) stage(m Proposer, key string, p *schemas.BoardProposal, opts []agents.Option) error {
	if key == "" {
		return errNoKey
	}
	all := append([]agents.Option{agents.Kind(streaming.KindRequest)}, opts...)
	return m.Send(b.Agent(), p, append(all, agents.Key(key))...)
}
