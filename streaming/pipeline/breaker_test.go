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
	start := func(want bool) {
		t.Helper()
		if got := b.Start(now); got != want {
			t.Fatalf("start is %v at %s", got, now.UTC().Format(time.TimeOnly))
		}
	}
	ready(true)
	start(true)
	b.Unavailable(now)
	b.Unavailable(now) // another that was under way: the pause is no longer for it
	ready(false)
	now = now.Add(breakerFirst)
	ready(true)
	start(true)
	ready(false) // one probe at a time
	start(false) // though a lane was told otherwise before
	b.Unavailable(now)
	now = now.Add(breakerFirst)
	ready(false) // twice as long
	now = now.Add(breakerFirst)
	ready(true)
	start(true)
	b.Available()
	ready(true)
	start(true)
	ready(true)
	b.Unavailable(now)
	now = now.Add(breakerFirst)
	start(true)
	ready(false)
	now = now.Add(breakerMost)
	ready(true) // the probe never came back
	start(true)
	for range 20 {
		b.Unavailable(now)
		now = now.Add(breakerMost)
		ready(true) // the pause is bounded
		start(true)
	}
}
