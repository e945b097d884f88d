// Package retry decides what becomes of a message whose handler failed: which
// tier, when, or the dead-letter topic.
package retry

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Policy is how often and how late a failed message is tried again.
type Policy struct {
	// Tiers are the delays of the retry topics, shortest first. The first
	// failure goes to the first tier, the second to the second, and so on; the
	// last tier serves all that follow. Default: 1s, 10s, 1m, 10m.
	Tiers []time.Duration
	// Attempts is how often a handler is started at most, the first time
	// included. Default: 5.
	Attempts int
	// Rules are for errors that need something else: the first that matches
	// counts. They do not bring back what a handler, or the platform, has
	// dead-lettered, and a time that a handler names comes before their delays.
	// Default: none.
	Rules []Rule
}

// WithDefaults fills what is not set.
func (p Policy) WithDefaults() Policy {
	if p.Tiers == nil {
		p.Tiers = []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}
	}
	if p.Attempts == 0 {
		p.Attempts = 5
	}
	return p
}

// Validate reports all that is wrong with a policy.
func (p Policy) Validate() error {
	var errs []error
	if p.Attempts < 1 {
		errs = append(errs, fmt.Errorf("retry attempts are %d: at least 1 is needed", p.Attempts))
	}
	if len(p.Tiers) == 0 {
		errs = append(errs, errors.New("no retry tier: name at least one delay"))
	}
	for i, d := range p.Tiers {
		if d < time.Millisecond || d%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("retry tier %s: whole milliseconds are needed", d))
		}
		if i > 0 && d <= p.Tiers[i-1] {
			errs = append(errs, fmt.Errorf("retry tier %s does not follow %s: name the shortest first, each once", d, p.Tiers[i-1]))
		}
	}
	for i, r := range p.Rules {
		errs = append(errs, r.validate(i+1))
	}
	return errors.Join(errs...)
}

// Verdict is what becomes of a failed attempt.
type Verdict struct {
	Dead   bool
	Reason streaming.Reason
	Tier   int           // number of the tier, from 1
	Delay  time.Duration // until it is due
}

// Judge says what follows from err after that many attempts. A time that the
// handler names is waited for in the largest tier that it fills, or in the
// smallest: a copy there has its own due time, and its attempts are durable.
func (p Policy) Judge(attempts int, err error) Verdict {
	reason := streaming.ReasonOf(err)
	var dead *streaming.DeadLetterError
	if errors.As(err, &dead) {
		return Verdict{Dead: true, Reason: reason}
	}
	rule := p.rule(err)
	most := p.Attempts
	if rule.Attempts > 0 {
		most = rule.Attempts
	}
	if attempts >= most {
		return Verdict{Dead: true, Reason: reason}
	}
	var named *streaming.RetryError
	if errors.As(err, &named) {
		return Verdict{Reason: reason, Tier: max(1, p.Tier(named.After)), Delay: named.After}
	}
	if n := len(rule.Delays); n > 0 {
		delay := rule.Delays[min(attempts, n)-1]
		return Verdict{Reason: reason, Tier: max(1, p.Tier(delay)), Delay: delay}
	}
	tier := min(attempts, len(p.Tiers))
	return Verdict{Reason: reason, Tier: tier, Delay: p.Tiers[tier-1]}
}

// Tier is the number of the largest tier that a wait fills, from 1, or 0.
func (p Policy) Tier(wait time.Duration) int {
	i, found := slices.BinarySearch(p.Tiers, wait)
	if found {
		return i + 1
	}
	return i
}
