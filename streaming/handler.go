package streaming

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Handler handles the messages of one type. It is the erased form of an agent
// author's typed function; package agents erases each one once.
type Handler interface {
	// New returns a pointer to an empty payload for the decoder to fill.
	New() any
	// Handle does the work. A nil error settles the message as done, with all
	// that it staged in the outbox. Other outcomes are errors: RetryError,
	// DeadLetterError, UnavailableError; any other error is a retry by policy.
	Handle(ctx context.Context, d *Delivery) error
}

// AnyType is where a map of handlers by message type has the one for all types that
// have none of their own. Under "quake.*" it has one for all types that begin with
// "quake.".
const AnyType = "*"

// HandlerOf returns the handler of a message type: its own, else that of the longest
// pattern, else nil.
func HandlerOf(handlers map[string]Handler, messageType string) Handler {
	if h := handlers[messageType]; h != nil {
		return h
	}
	for i := len(messageType) - 1; i > 0; i-- {
		if messageType[i] != '.' {
			continue
		}
		if h := handlers[messageType[:i+1]+AnyType]; h != nil {
			return h
		}
	}
	return handlers[AnyType]
}

// HandlesType reports whether one of some types or patterns is that of a message.
func HandlesType(types []string, messageType string) bool {
	return slices.ContainsFunc(types, func(t string) bool {
		prefix, pattern := strings.CutSuffix(t, AnyType)
		return t == messageType || pattern && strings.HasPrefix(messageType, prefix)
	})
}

// Raw is what a handler's New returns, or its Target, where it wants the value as it
// came: it is not decoded, and may be of any schema or of none.
type Raw struct{ Value []byte }

// Forwarder marks a handler that sends its messages on as they are (see
// Outgoing.Forward): no ack is sent for it, as whoever handles the message does.
type Forwarder interface{ Forwards() }

// Target is implemented by what Handler.New returns where the payload to be
// filled is a part of it.
type Target interface {
	Target() any
}

// Delivery is one attempt of one message.
type Delivery struct {
	Envelope *Envelope // to be read only
	Key      string
	Payload  any // what Handler.New returned, decoded
	Attempt  int // 1 on the first
	Outbox   *Outbox
	Steps    Steps
	State    State
	// Fits reports a message that is over its topic's limit, as far as that is known,
	// as a *RecordTooLargeError; nil: that shows when it is sent.
	Fits func(out *Outgoing) error
	// Spend reports tokens that the handler has spent, for Limits; nil: nobody
	// counts them. Several goroutines may call it.
	Spend func(tokens float64)
	// Budget is what the run may spend of what the message's senders allow. What the
	// run causes inherits what is left of it at the run's end.
	Budget *Allowance
	Claim  Claim

	// Settled, if the handler sets it, is called once when the message is done for
	// good: its outputs and its mark are acknowledged. It must not block. A crash
	// may come before it.
	Settled func()
}

// Claim says for which lane an attempt is made, and by which of its owners. A
// later owner of the lane has a higher epoch.
type Claim struct {
	Group     string
	Topic     string
	Partition int32
	Epoch     int64 // offset of the owner's claim in the ledger partition
}

// ErrFenced says that a later owner of the lane is at work. A handler that
// returns an UnavailableError of it makes the lane be rebuilt from the logs, if
// it is still owned: nothing of the attempt has had an effect.
var ErrFenced = errors.New("a later owner of the partition is at work")
