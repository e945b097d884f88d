// Package pipeline takes a record from the log to its end: decode, admit,
// handle, settle. One file is one stage; Lane composes them and drives the
// state machine of package lane for one owned input partition.
package pipeline

import (
	"context"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Appender writes to the log. Append does not block; done is called once, from
// any goroutine, when the record is acknowledged by all in-sync replicas or has
// failed for good. Records of one partition are written in the order of calls.
type Appender interface {
	Append(rec *streaming.Record, done func(offset int64, err error))
}

// Loader reads one record again. Where there is none the error is a
// streaming.ErrNoRecord.
type Loader interface {
	Load(ctx context.Context, topic string, partition int32, offset int64) (streaming.Record, error)
}

// Observer is told what happens to the records of one input topic.
type Observer interface {
	Consumed(n int)
	Sent(topic string, n int)
	Processed(reason streaming.Reason, d time.Duration)
	EndToEnd(d time.Duration)
	Redelivered()
	Duplicate()
	Skipped()
	Retrying(reason streaming.Reason)
	DeadLettered(reason streaming.Reason)
	InFlight(delta int)
	InFlightBytes(delta int)
	Lag(partition int32, d time.Duration)
	LaneClosed(partition int32)
	RetryLateness(d time.Duration)
	// AnsweredAgain says that a duplicate of a request got the same answer again,
	// or, not kept, that an answer was too large to be kept for that.
	AnsweredAgain()
	AnswerNotKept()
	// AnswerDropped says that an answer was not sent, as who has asked has no inbox.
	AnswerDropped()
	// BudgetExhausted says that in a run of a handler a charge was over the budget.
	BudgetExhausted(unit string)
	// LedgerWindow says how far back a partition's ledger remembers every
	// settled message, and how far it is meant to.
	LedgerWindow(partition int32, effective, configured time.Duration)
}

// AgentObserver is told what holds an instance of an agent back.
type AgentObserver interface {
	Paused(paused bool)    // by an operator
	ControlSkipped()       // a control record that cannot be read
	BreakerOpen(open bool) // told about once a second
	// Limited tells that handlers have waited for a limit for so long since the
	// last call.
	Limited(limit streaming.Limit, d time.Duration)
}
