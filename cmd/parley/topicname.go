package main

import "strings"

// The companions of an input topic, as their names say.
const (
	companionRetry  = "retry"
	companionDead   = "dlq"
	companionHold   = "hold"
	companionLedger = "ledger"
)

// topicName is what the wire contract says by a topic's name.
type topicName struct {
	input     string // the input topic: the topic itself unless it is a companion
	companion string // one of the companions, or empty
	group     string // of a companion
}

// parseTopic reads a name such as parley.inbox.triage or
// parley.inbox.triage.retry-10s.triage. Names of namespaces, agents and streams
// hold no dot; a group's may.
func parseTopic(topic string) topicName {
	parts := strings.SplitN(topic, ".", 5)
	if len(parts) < 5 {
		return topicName{input: topic}
	}
	companion := parts[3]
	if strings.HasPrefix(companion, companionRetry+"-") {
		companion = companionRetry
	}
	switch companion {
	case companionRetry, companionDead, companionHold, companionLedger:
		return topicName{input: strings.Join(parts[:3], "."), companion: companion, group: parts[4]}
	}
	return topicName{input: topic}
}
