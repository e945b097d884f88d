package streaming

import "context"

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

// Delivery is one attempt of one message.
type Delivery struct {
	Envelope *Envelope // to be read only
	Key      string
	Payload  any // what Handler.New returned, decoded
	Attempt  int // 1 on the first
	Outbox   *Outbox
	Steps    Steps
	// Spend reports tokens that the handler has spent, for Limits; nil: nobody
	// counts them. Several goroutines may call it.
	Spend func(tokens float64)
}
