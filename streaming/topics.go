package streaming

import (
	"strconv"
	"time"
)

// Namespace is the first word of every topic of one installation.
type Namespace string

// DefaultNamespace is the namespace of wire contract version 1.
const DefaultNamespace Namespace = "parley"

// Inbox is the topic of messages addressed to one agent.
func (n Namespace) Inbox(agent string) string { return string(n) + ".inbox." + agent }

// Events is the topic of a stream.
func (n Namespace) Events(stream string) string { return string(n) + ".events." + stream }

// Replies is the topic of the answers that an agent waits for.
func (n Namespace) Replies(agent string) string { return string(n) + ".replies." + agent }

// State is the compacted topic of a board: by key, the latest counts.
func (n Namespace) State(board string) string { return string(n) + ".state." + board }

// Agents is the compacted topic in which things are said about agents: by key,
// the latest counts.
func (n Namespace) Agents() string { return string(n) + ".agents" }

// RetryTopic is the tier of that delay, for one input topic and group.
func RetryTopic(input string, delay time.Duration, group string) string {
	return input + ".retry-" + FormatDelay(delay) + "." + group
}

// DeadLetterTopic holds the dead letters of one input topic and group.
func DeadLetterTopic(input, group string) string { return input + ".dlq." + group }

// HoldTopic holds what waits behind dead letters of its key, for one input topic
// and group that holds keys.
func HoldTopic(input, group string) string { return input + ".hold." + group }

// StateTopic is the compacted topic of what an agent remembers of the messages of
// one input topic.
func StateTopic(input, group string) string { return input + ".state." + group }

// LedgerTopic holds the marks of one input topic and group.
func LedgerTopic(input, group string) string { return input + ".ledger." + group }

// FormatDelay writes a delay as topic names do: one number with the largest
// unit that needs no fraction, such as 250ms, 10s, 5m, 1h.
func FormatDelay(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	case d >= time.Second && d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	default:
		return strconv.FormatInt(int64(d/time.Millisecond), 10) + "ms"
	}
}
