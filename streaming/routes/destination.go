package routes

import (
	"fmt"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Destination is where a route sends: an agent's inbox or a stream.
type Destination struct {
	Agent  string // empty: a stream
	Stream string
}

// The first words of a destination's text.
const (
	agentPrefix  = "agent:"
	streamPrefix = "stream:"
)

// ToAgent is the inbox of an agent.
func ToAgent(name string) Destination { return Destination{Agent: name} }

// ToStream is a stream.
func ToStream(name string) Destination { return Destination{Stream: name} }

// ParseDestination reads a destination's text: agent:NAME or stream:NAME.
func ParseDestination(s string) (Destination, error) {
	var d Destination
	name, ok := strings.CutPrefix(s, agentPrefix)
	if ok {
		d.Agent = name
	} else if name, ok = strings.CutPrefix(s, streamPrefix); ok {
		d.Stream = name
	} else {
		return d, fmt.Errorf("the destination %q is neither agent:NAME nor stream:NAME", s)
	}
	if err := schemas.ValidName(name); err != nil {
		return Destination{}, fmt.Errorf("the destination %q: %w", s, err)
	}
	return d, nil
}

// String is the destination's text.
func (d Destination) String() string {
	if d.Agent != "" {
		return agentPrefix + d.Agent
	}
	return streamPrefix + d.Stream
}

// MarshalText implements encoding.TextMarshaler.
func (d Destination) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Topic is the destination's topic.
func (d Destination) Topic(ns streaming.Namespace) string {
	if d.Agent != "" {
		return ns.Inbox(d.Agent)
	}
	return ns.Events(d.Stream)
}
