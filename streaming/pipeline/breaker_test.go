package pipeline

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	b := new(Breaker)
	ready := func(want bool) {
		t.Helper()
		if got := b.Ready(now); got != want {
			t.Fatalf("ready is %v at %s", got, now.UTC().Format(time.TimeOnly))
		}
	}
	ready(true)
	b.Started(now)
	b.Unavailable(now)
	b.Unavailable(now) // another that was under way: the pause is no longer for it
	ready(false)
	now = now.Add(breakerFirst)
	ready(true)
	b.Started(now)
	ready(false) // one probe at a time
	b.Unavailable(now)
	now = now.Add(breakerFirst)
	ready(false) // twice as long
	now = now.Add(breakerFirst)
	ready(true)
	b.Started(now)
	b.Available()
	ready(true)
	b.Started(now)
	ready(true)
	b.Unavailable(now)
	now = now.Add(breakerFirst)
	b.Started(now)
	ready(false)
	now = now.Add(breakerMost)
	ready(true) // the probe never came back
	b.Started(now)
	for range 20 {
		b.Unavailable(now)
		now = now.Add(breakerMost)
		ready(true) // the pause is bounded
		b.Started(now)
	}
}
