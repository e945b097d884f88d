package retry_test

import (
	"errors"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	p := retry.Policy{Tiers: []time.Duration{time.Second, 10 * time.Second}, Attempts: 4}
	failed := errors.New("failed")
	after := func(d time.Duration) error { return &streaming.RetryError{After: d, Err: failed} }
	for name, c := range map[string]struct {
		attempts int
		err      error
		want     retry.Verdict
	}{
		"first":        {1, failed, retry.Verdict{Reason: "handler", Tier: 1, Delay: time.Second}},
		"second":       {2, failed, retry.Verdict{Reason: "handler", Tier: 2, Delay: 10 * time.Second}},
		"beyond":       {3, failed, retry.Verdict{Reason: "handler", Tier: 2, Delay: 10 * time.Second}},
		"spent":        {4, failed, retry.Verdict{Dead: true, Reason: "handler"}},
		"permanent":    {1, streaming.DeadLetter(streaming.ReasonPermanent, failed), retry.Verdict{Dead: true, Reason: "permanent"}},
		"short, named": {1, after(time.Millisecond), retry.Verdict{Reason: "handler", Tier: 1, Delay: time.Millisecond}},
		"named":        {1, after(9 * time.Second), retry.Verdict{Reason: "handler", Tier: 1, Delay: 9 * time.Second}},
		"exact":        {1, after(10 * time.Second), retry.Verdict{Reason: "handler", Tier: 2, Delay: 10 * time.Second}},
		"far, named":   {1, after(time.Hour), retry.Verdict{Reason: "handler", Tier: 2, Delay: time.Hour}},
		"named, spent": {4, after(time.Second), retry.Verdict{Dead: true, Reason: "handler"}},
	} {
		if got := p.Judge(c.attempts, c.err); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
