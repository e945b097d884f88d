package streaming

import "time"

// Clock tells the time. Every timer and timestamp of the platform comes from
// an injected one.
type Clock interface {
	Now() time.Time
}

// SystemClock is the clock of the machine. Under testing/synctest it is the
// bubble's.
type SystemClock struct{}

// Now returns time.Now.
func (SystemClock) Now() time.Time { return time.Now() }
