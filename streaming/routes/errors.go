package routes

import (
	"fmt"
	"strings"
)

// RouteError says what is wrong with one route of a set.
type RouteError struct {
	Route   string // its name
	Type    string // the message type whose schema the match does not fit; may be empty
	Problem string
	Err     error // the cause; may be nil
}

func (e *RouteError) Error() string {
	text := fmt.Sprintf("route %q: ", e.Route)
	if e.Type != "" {
		text += "for " + e.Type + ": "
	}
	text += e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *RouteError) Unwrap() error { return e.Err }

// DoubleRouteError says that two routes of a set have one name.
type DoubleRouteError struct{ Route string }

func (e *DoubleRouteError) Error() string {
	return fmt.Sprintf("two routes are named %q: give each its own name", e.Route)
}

// UnknownAgentError says that a destination's agent has no inbox: none was started
// with that name, or it was removed.
type UnknownAgentError struct {
	Route string // that names it; empty: a routing slip
	Agent string
	Err   error // the cause; may be nil
}

func (e *UnknownAgentError) Error() string {
	return of(e.Route) + fmt.Sprintf("there is no agent %s, it has no inbox: start it once, create its topics with `parley topics apply`, or name another", e.Agent)
}

// Unwrap returns the cause.
func (e *UnknownAgentError) Unwrap() error { return e.Err }

// UnknownStreamError says that a destination's stream has no topic.
type UnknownStreamError struct {
	Route  string
	Stream string
	Err    error // the cause; may be nil
}

func (e *UnknownStreamError) Error() string {
	return of(e.Route) + fmt.Sprintf("there is no stream %s: start an agent that subscribes to it, create its topic with `parley topics apply`, or name another", e.Stream)
}

// Unwrap returns the cause.
func (e *UnknownStreamError) Unwrap() error { return e.Err }

func of(route string) string {
	if route == "" {
		return ""
	}
	return fmt.Sprintf("route %q: ", route)
}

// ConflictError says that a set was not taken, as another of its version came
// first. Nothing has changed: read what is in force, and apply again.
type ConflictError struct {
	Version int64  // that both were to be
	By      string // who was first
}

func (e *ConflictError) Error() string {
	by := ""
	if e.By != "" {
		by = " by " + e.By
	}
	return fmt.Sprintf("version %d was applied%s at the same time and came first, so nothing was changed: look at what is in force with `parley routes list`, and apply again", e.Version, by)
}

// NoRouteError says that the set in force has no destination for a message.
type NoRouteError struct {
	Type    string // of the message
	Version int64  // of the set; 0: there is none
	Failed  []string
}

func (e *NoRouteError) Error() string {
	if e.Version == 0 {
		return fmt.Sprintf("no route for %s: there are no routes; apply some with `parley routes apply`", e.Type)
	}
	text := fmt.Sprintf("no route of version %d matches this %s; `parley routes test` shows why", e.Version, e.Type)
	if len(e.Failed) > 0 {
		text += "; these could not be evaluated: " + strings.Join(e.Failed, ", ")
	}
	return text
}
