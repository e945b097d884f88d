package board

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// What a proposal may expect beside a version, which is 1 or more.
const (
	// Absent is a key that has no value: it never had one, or it was deleted.
	Absent int64 = 0
	// Any is whatever the key has.
	Any int64 = -1
)

// Board names a board and the type of its values. It holds nothing and needs no
// connection: a package that knows the type declares it once.
type Board[T schemas.Message] struct{ name string }

// New returns the board of that name: [a-z0-9-]+, up to 57 bytes.
func New[T schemas.Message](name string) *Board[T] { return &Board[T]{name} }

// Name is the board's name.
func (b *Board[T]) Name() string { return b.name }

// Agent is the name of the board's keeper, to which proposals are sent.
func (b *Board[T]) Agent() string { return keeperPrefix + b.name }

const keeperPrefix = "board-"

// Proposal is a proposal to set a key, as the payload of a request to Agent with
// the board's key as its key: for whoever sends it in another way than Set,
// CompareAndSet and Propose do. expected is a version, Absent or Any.
func (b *Board[T]) Proposal(ctx context.Context, p *agents.Platform, value T, expected int64) (*schemas.BoardProposal, error) {
	framed, err := p.Codec().Encode(ctx, value)
	if err != nil {
		return nil, fmt.Errorf("board %s: %w", b.name, err)
	}
	return b.proposal(&framed, expected)
}

// Deletion is a proposal to delete a key, as Proposal is one to set it.
func (b *Board[T]) Deletion(expected int64) (*schemas.BoardProposal, error) {
	return b.proposal(nil, expected)
}

func (b *Board[T]) proposal(framed *[]byte, expected int64) (*schemas.BoardProposal, error) {
	if err := schemas.ValidName(b.Agent()); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	p := &schemas.BoardProposal{Board: b.name, Value: framed}
	switch {
	case expected >= Absent:
		p.Expected = &expected
	case expected != Any:
		return nil, fmt.Errorf("board %s: the version %d cannot be expected: it is 1 or more, Absent or Any", b.name, expected)
	}
	return p, nil
}

// Answer reads what a keeper has answered: the new version, or a
// *ConflictError[T].
func (b *Board[T]) Answer(ctx context.Context, p *agents.Platform, a *schemas.BoardAnswer) (version int64, err error) {
	if a.Board != b.name {
		return 0, fmt.Errorf("the answer is of board %q, not of %s", a.Board, b.name)
	}
	if a.Accepted {
		return a.Version, nil
	}
	conflict := &ConflictError[T]{Board: a.Board, Key: a.Key, Expected: Any, Current: a.Version}
	if a.Expected != nil {
		conflict.Expected = *a.Expected
	}
	if a.Value != nil {
		if err := p.Codec().Decode(ctx, *a.Value, &conflict.Value, messageType[T]()); err != nil {
			return 0, fmt.Errorf("the value in a conflict over %q of board %s: %w", a.Key, a.Board, err)
		}
		conflict.Exists = true
	}
	return 0, conflict
}

// ErrConflict is what each *ConflictError is, whatever its type.
var ErrConflict = errors.New("the key is not as the proposal expects")

// ConflictError says that a proposal was not accepted, as its key is not as it
// expects, and how the key is.
type ConflictError[T any] struct {
	Board, Key string
	Expected   int64 // a version, or Absent
	Current    int64 // version; 0 where the key never had a value
	Value      T     // as it is; empty unless Exists
	Exists     bool  // false: the key has no value
}

func (e *ConflictError[T]) Error() string {
	has := fmt.Sprintf("is at version %d", e.Current)
	if !e.Exists {
		has = fmt.Sprintf("has no value (version %d)", e.Current)
	}
	expected := fmt.Sprintf("version %d", e.Expected)
	if e.Expected == Absent {
		expected = "no value"
	}
	return fmt.Sprintf("conflict: key %q of board %s %s, and the proposal expects %s: propose again from there", e.Key, e.Board, has, expected)
}

// Unwrap returns ErrConflict.
func (e *ConflictError[T]) Unwrap() error { return ErrConflict }

// messageType is that of the board's values.
func messageType[T schemas.Message]() string {
	var zero T
	return schemas.MessageType(zero.Schema())
}

// topic is where a board stands.
func topic(ns streaming.Namespace, board string) string { return ns.State(board) }
