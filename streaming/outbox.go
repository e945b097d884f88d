package streaming

// Outgoing is one message staged by a handler. The platform completes its
// envelope (ID, source, time, conversation, cause, hops, trace) when the
// handler has succeeded. A cause that is set already stays: on a late reply it is
// the request, not the message that the handler was given.
type Outgoing struct {
	Envelope  Envelope
	Topic     string
	Partition int32  // -1: chosen by the key
	Key       string // empty: the correlation ID
	Value     []byte // framed

	// Lasting messages do not inherit the deadline of what caused them: they are
	// what an agent tells itself so as to end what it began.
	Lasting bool
	// Optional messages are left out where they can never be sent, as for an agent
	// without an inbox; else what is handled fails.
	Optional bool
	// IfTopicExists messages are left out, and counted as an answer dropped, where their
	// topic does not exist: an answer to a sender without an inbox. Otherwise refused,
	// as for its size, it fails what is handled.
	IfTopicExists bool

	// Forward sends the handled message itself on: its ID, source, conversation, cause,
	// reply path, kind, times, headers and key are kept, with one hop less. Of the
	// envelope only Recipient and Route are this one's. Whoever gets it knows it again
	// by its own identity, however it came.
	Forward bool

	// Routed says that data has named the topic: where it does not exist the handled
	// message is dead, as no_route, and not tried again.
	Routed bool
}

// Outbox holds what a handler wants to send until its message settles. It is
// used by one goroutine at a time. What a failed attempt staged is never sent.
type Outbox struct {
	staged []Outgoing
	first  [1]Outgoing // most messages cause one
}

// Stage adds a message. The position in the outbox is part of the message ID
// that is derived for it, so a handler stages in the same order on each run.
func (o *Outbox) Stage(out Outgoing) { *o.Next() = out }

// Next stages an empty message, to be filled before the next is staged.
func (o *Outbox) Next() *Outgoing {
	if o.staged == nil {
		o.staged = o.first[:0]
	}
	if n := len(o.staged); n < cap(o.staged) {
		o.staged = o.staged[:n+1] // zero still: no room is used twice
	} else {
		o.staged = append(o.staged, Outgoing{})
	}
	return &o.staged[len(o.staged)-1]
}

// Unstage takes back what was staged last.
func (o *Outbox) Unstage() {
	last := len(o.staged) - 1
	o.staged[last] = Outgoing{}
	o.staged = o.staged[:last]
}

// Clear forgets what was staged.
func (o *Outbox) Clear() { *o = Outbox{} }

// Staged returns what was staged, in order.
func (o *Outbox) Staged() []Outgoing { return o.staged }
