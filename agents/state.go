package agents

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Handled is a message that is being handled: a *Message of any type.
type Handled interface {
	Delivery() *streaming.Delivery
}

// State is what an agent remembers for each key, in a value of type S: the result
// of all messages of the key so far. It stands in Kafka, in a compacted topic
// beside the agent's input topic, and moves with the key's partition to whichever
// instance owns it. What a handler sets is written together with its outputs: the
// state, too, is changed once by each message, through crashes and retries, if the
// handler is a function of message and state.
//
// A key's messages of different input topics have states of their own. All state of
// the partitions that an instance owns is in its memory. More partitions of an
// input topic move keys away from their state: have them enough from the start.
//
// At least once, a worker that was frozen past its session and wakes in mid-handler
// may write a state that the next takeover undoes; if the topic is compacted before
// that, the older one stays. Exactly once it cannot.
type State[S schemas.Message] struct {
	name string
	link *link
}

// Keep declares a state of an agent. The name is part of what is stored.
func Keep[S schemas.Message](a *Agent, name string) *State[S] {
	if err := schemas.ValidName(name); err != nil {
		a.errs = append(a.errs, fmt.Errorf("state: %w", err))
	}
	if a.states[name] {
		a.errs = append(a.errs, fmt.Errorf("agent %s has two states named %s", a.name, name))
	}
	if a.states == nil {
		a.states = make(map[string]bool)
	}
	a.states[name] = true
	return &State[S]{name: name, link: a.link}
}

// ErrNoKey says that a message without a key has no state: nothing keeps
// messages without a key in order.
var ErrNoKey = errors.New("the message has no key, and so no state")

// Get returns the state of the message's key: as this run has set it, else as the
// messages before have left it. ok is false where there is none.
func (s *State[S]) Get(ctx context.Context, m Handled) (state S, ok bool, err error) {
	d, name, err := s.of(m)
	if err != nil {
		return state, false, err
	}
	value, ok, err := d.State.Get(name)
	if err != nil || !ok {
		return state, false, err
	}
	if err := s.link.codec.Decode(ctx, value, &state, ""); err != nil {
		if reason, bad := schemas.ErrorReason(err); bad {
			return state, false, streaming.DeadLetter(reason, fmt.Errorf("the state %s of key %q: %w", s.name, d.Key, err))
		}
		return state, false, Unavailable(err)
	}
	return state, true, nil
}

// Set stages the new state of the message's key.
func (s *State[S]) Set(ctx context.Context, m Handled, state S) error {
	d, name, err := s.of(m)
	if err != nil {
		return err
	}
	value, err := s.link.codec.Encode(ctx, state)
	if err != nil {
		return fmt.Errorf("encode the state %s: %w", s.name, err)
	}
	return d.State.Set(name, value)
}

// Forget stages that the message's key has no state any more.
func (s *State[S]) Forget(m Handled) error {
	d, name, err := s.of(m)
	if err != nil {
		return err
	}
	return d.State.Set(name, nil)
}

func (s *State[S]) of(m Handled) (*streaming.Delivery, string, error) {
	d := m.Delivery()
	if d.Key == "" {
		return nil, "", Permanent(ErrNoKey)
	}
	return d, s.name + "/" + d.Key, nil
}
