package streaming

import "time"

// Kind is what a message means to its recipient (header ce_kind).
type Kind string

// The kinds of wire contract version 1.
const (
	KindEvent     Kind = "event"
	KindIntent    Kind = "intent"
	KindStateDiff Kind = "statediff"
	KindCommand   Kind = "command"
	KindRequest   Kind = "request"
	KindReply     Kind = "reply"
	KindAck       Kind = "ack"
	KindError     Kind = "error"
)

// AckMode is what a sender wants to be told about (header ce_ack).
type AckMode string

// The ack modes of wire contract version 1. The empty mode asks for no ack.
const (
	AckNone      AckMode = ""
	AckDelivered AckMode = "delivered"
	AckHandled   AckMode = "handled"
)

// DefaultHops is the hop budget of a message that states none.
const DefaultHops = 32

// Envelope is the contract's attributes of a message: CloudEvents 1.0 with the
// extensions of wire contract version 1. The zero value of an attribute means
// that it is absent, except Hops, where a decoded envelope always has a value.
type Envelope struct {
	ID            string    // ce_id; with Source the idempotency key
	Source        string    // ce_source: the sending agent
	Type          string    // ce_type: dot-separated words
	Time          time.Time // ce_time
	Recipient     string    // ce_recipient: the agent addressed; empty for an event
	Kind          Kind      // ce_kind; KindEvent when absent
	CorrelationID string    // ce_correlationid: the conversation; ID when absent
	CausationID   string    // ce_causationid
	ReplyTo       string    // ce_replyto: topic or topic/partition
	Expiry        time.Time // ce_expirytime
	Hops          int       // ce_hops; DefaultHops when absent
	Ack           AckMode   // ce_ack
	DeliverAt     time.Time // ce_deliverat
	Sequence      int64     // ce_sequence
	Last          bool      // ce_last
	Budget        string    // ce_budget: unit=number
	Route         []string  // ce_route: agents still to visit
	TraceParent   string    // traceparent
	TraceState    string    // tracestate
}

// Hop is what the platform adds to a record in a retry or dead-letter topic.
type Hop struct {
	Attempt int    // parley-attempt: handler attempts so far
	Moves   int    // parley-moves: moves between topics so far
	Due     int64  // parley-due: Unix milliseconds; 0 is no due time of its own
	Origin  Origin // parley-origin
	Reason  Reason // parley-reason
	Error   string // parley-error: bounded text
}

// Origin is the place of a message's record in its input topic. It is the same
// for all copies of the message.
type Origin struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time // of the input record, milliseconds
}
