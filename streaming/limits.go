package streaming

import (
	"errors"
	"fmt"
	"math"
)

// Limits bound one instance of an agent, over all the partitions it owns. They
// are not shared: a group of n instances has n times as much. Zero is no limit.
// What is limited waits where it is, in the order of its key, and no attempt is
// counted.
type Limits struct {
	// Handlers is how many run at once, beside Parallel per partition. The
	// partitions take turns.
	Handlers int
	// RequestsPerMinute is how many handlers are started: evenly spaced, never
	// more than that in any minute. What was not used is not saved up.
	RequestsPerMinute float64
	// TokensPerMinute is how much handlers may spend on average, as they report
	// it (agents.Message.Spend). As a call's cost is known only after it, each
	// start is charged what runs have cost lately and corrected at its end; what
	// was spent too much is waited for.
	TokensPerMinute float64
}

// Any reports whether anything is limited.
func (l Limits) Any() bool { return l != Limits{} }

// Validate reports all that is wrong.
func (l Limits) Validate() error {
	var errs []error
	if l.Handlers < 0 {
		errs = append(errs, fmt.Errorf("limit of handlers is %d: 0 means none", l.Handlers))
	}
	rate := func(what string, v float64) {
		if !(v >= 0) || math.IsInf(v, 0) {
			errs = append(errs, fmt.Errorf("limit of %s per minute is %v: 0 means none", what, v))
		}
	}
	rate("requests", l.RequestsPerMinute)
	rate("tokens", l.TokensPerMinute)
	return errors.Join(errs...)
}

// Limit names what holds a handler back.
type Limit string

// The limits.
const (
	LimitHandlers Limit = "handlers"
	LimitRequests Limit = "requests"
	LimitTokens   Limit = "tokens"
)

// AllLimits lists the names.
func AllLimits() []Limit { return []Limit{LimitHandlers, LimitRequests, LimitTokens} }
