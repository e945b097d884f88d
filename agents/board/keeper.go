package board

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// Keeper returns the agent that keeps the board, board-NAME. Run one instance of it
// or several, which share the keys. It writes nothing that no proposal asks for:
// without a keeper a board can be read, and proposals wait.
//
// A proposal is accepted or in conflict, and a request is told so; a command is told
// nothing. Each accepted proposal is one version of its key, whose versions are 1,
// 2, 3 and so on, also across deletions. A repeated proposal, under the same source
// and ID, has one effect and gets the same answer. A proposal that cannot be read, or
// whose value is not of the board's schema or breaks its rules, is a dead letter.
//
// With ExactlyOnce all of that is so whatever happens to the keeper's processes. At
// least once, around an instance that was frozen past its session, it is as weak as
// the agent's state is: see agents.State.
func (b *Board[T]) Keeper(cfg agents.Config) *agents.Agent {
	if cfg.AnswerBytes == 0 {
		cfg.AnswerBytes = pipeline.MaxAnswerBytes // a conflict's answer holds a value
	}
	a := agents.New(b.Agent(), cfg)
	a.Maintains(func(ns streaming.Namespace) string { return topic(ns, b.name) })
	k := &keeper[T]{b, agents.Keep[schemas.BoardEntry](a, "board")}
	agents.Produces[schemas.BoardAnswer](a, agents.AsReply())
	agents.On(a, k.handle)
	return a
}

type keeper[T schemas.Message] struct {
	board *Board[T]
	state *agents.State[schemas.BoardEntry]
}

func (k *keeper[T]) handle(ctx context.Context, m *agents.Message[schemas.BoardProposal]) error {
	count := m.Platform().Metrics().Board(k.board.name)
	accepted, err := k.judge(ctx, m)
	var dead *streaming.DeadLetterError
	switch {
	case errors.As(err, &dead):
		count.BadProposal()
	case err == nil:
		m.Delivery().Settled = func() { count.Judged(accepted) }
	}
	return err
}

// judge stages what follows from a proposal.
func (k *keeper[T]) judge(ctx context.Context, m *agents.Message[schemas.BoardProposal]) (accepted bool, err error) {
	if err := k.admit(ctx, m); err != nil {
		return false, err
	}
	entry, known, err := k.state.Get(ctx, m)
	if err != nil {
		return false, err
	}
	proposal := streaming.HashID(m.Envelope.Source, m.ID())
	accepted = fits(m.Payload.Expected, entry)
	switch {
	case known && entry.Proposal == proposal:
		accepted = true // and in effect: it comes again after the ledger has forgotten it
	case accepted:
		entry = schemas.BoardEntry{Version: entry.Version + 1, Value: m.Payload.Value, Proposal: proposal}
		if err := k.state.Set(ctx, m, entry); err != nil {
			return false, err
		}
		m.Delivery().Outbox.Stage(k.record(m.Platform().Namespace(), m.Key, entry))
	}
	if m.Envelope.Kind != streaming.KindRequest {
		return accepted, nil
	}
	answer := &schemas.BoardAnswer{Board: k.board.name, Key: m.Key, Accepted: accepted, Version: entry.Version, Expected: m.Payload.Expected}
	if !accepted {
		answer.Value = entry.Value
	}
	return accepted, m.Reply(answer)
}

// admit refuses what is no proposal of a value of this board.
func (k *keeper[T]) admit(ctx context.Context, m *agents.Message[schemas.BoardProposal]) error {
	p := &m.Payload
	switch {
	case m.Key == "":
		return agents.Permanent(errors.New("a proposal without a key: the record's key is the board's"))
	case len(m.Key) > MaxKey:
		return agents.Permanent(fmt.Errorf("the key has %d bytes, allowed are %d", len(m.Key), MaxKey))
	case p.Board != k.board.name:
		return agents.Permanent(fmt.Errorf("the proposal is for board %q, this is %s", p.Board, k.board.name))
	case p.Expected != nil && *p.Expected < Absent:
		return agents.Permanent(fmt.Errorf("the version %d cannot be expected", *p.Expected))
	case p.Value == nil:
		return nil
	}
	var value T
	if err := m.Platform().Codec().Decode(ctx, *p.Value, &value, messageType[T]()); err != nil {
		if reason, bad := schemas.ErrorReason(err); bad {
			return agents.DeadLetter(reason, fmt.Errorf("the proposed value: %w", err))
		}
		return agents.Unavailable(err)
	}
	return nil
}

// MaxKey is the longest key, in bytes.
const MaxKey = streaming.MaxStateName - len("board/")

// fits says whether a key is as a proposal expects it.
func fits(expected *int64, entry schemas.BoardEntry) bool {
	switch {
	case expected == nil:
		return true
	case *expected == Absent:
		return entry.Value == nil
	}
	return *expected == entry.Version
}

// record is a version of a key as it stands on the board.
func (k *keeper[T]) record(ns streaming.Namespace, key string, entry schemas.BoardEntry) streaming.Outgoing {
	out := streaming.Outgoing{
		Envelope: streaming.Envelope{Type: messageType[T](), Kind: streaming.KindStateDiff, Sequence: entry.Version},
		Topic:    topic(ns, k.board.name), Partition: -1, Key: key,
		Lasting: true, // it outlives the proposal's deadline
	}
	if entry.Value != nil {
		out.Value = *entry.Value
	}
	return out
}
