package retry_test

import (
	"errors"
	"fmt"
	"strings"
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

type busyError struct{}

func (*busyError) Error() string { return "busy" }

func TestJudgeByRule(t *testing.T) {
	t.Parallel()
	down, wrong := errors.New("down"), errors.New("wrong")
	p := retry.Policy{
		Tiers: []time.Duration{time.Second, 10 * time.Second}, Attempts: 3,
		Rules: []retry.Rule{
			{Match: func(error) bool { panic("an author's mistake") }, Attempts: 1},
			{Match: retry.Is(wrong), Attempts: 1},
			{Match: retry.As[*busyError](), Attempts: 5, Delays: []time.Duration{20 * time.Millisecond, 15 * time.Second}},
			{Match: retry.Because(streaming.ReasonPanic, streaming.ReasonTimeout), Attempts: 2},
			{Match: retry.Is(down), Delays: []time.Duration{time.Minute}},
			{Match: retry.Is(down), Attempts: 1}, // too late
		},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	busy := fmt.Errorf("wrapped: %w", &busyError{})
	panicked := &streaming.PanicError{Value: "boom"}
	tier := func(n int, d time.Duration) retry.Verdict { return retry.Verdict{Reason: "handler", Tier: n, Delay: d} }
	for name, c := range map[string]struct {
		attempts int
		err      error
		want     retry.Verdict
	}{
		"none matches":           {1, errors.New("other"), tier(1, time.Second)},
		"dead at once":           {1, errors.Join(errors.New("other"), wrong), retry.Verdict{Dead: true, Reason: "handler"}},
		"own delay":              {1, busy, tier(1, 20*time.Millisecond)},
		"own delay, second":      {2, busy, tier(2, 15*time.Second)},
		"more than the policy's": {4, busy, tier(2, 15*time.Second)},
		"spent":                  {5, busy, retry.Verdict{Dead: true, Reason: "handler"}},
		"the policy's delay":     {1, panicked, retry.Verdict{Reason: "panic", Tier: 1, Delay: time.Second}},
		"by reason, spent":       {2, panicked, retry.Verdict{Dead: true, Reason: "panic"}},
		"timeout":                {2, errors.Join(streaming.ErrHandlerTimeout, down), retry.Verdict{Dead: true, Reason: "timeout"}},
		"first counts":           {2, down, tier(2, time.Minute)},
		"the policy's attempts":  {3, down, retry.Verdict{Dead: true, Reason: "handler"}},
		"the handler's time":     {1, &streaming.RetryError{After: 2 * time.Second, Err: busy}, tier(1, 2*time.Second)},
		"the handler's death":    {1, streaming.DeadLetter(streaming.ReasonPermanent, busy), retry.Verdict{Dead: true, Reason: "permanent"}},
	} {
		if got := p.Judge(c.attempts, c.err); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAPolicyNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	p := retry.Policy{
		Tiers: []time.Duration{time.Second, time.Second}, Attempts: -1,
		Rules: []retry.Rule{
			{Attempts: 1},
			{Match: retry.Is(errors.ErrUnsupported)},
			{Match: retry.Is(errors.ErrUnsupported), Attempts: -2, Delays: []time.Duration{time.Microsecond}},
		},
	}
	err := p.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		"attempts are -1", "1s does not follow 1s", "rule 1: it has no Match", "rule 2: it changes nothing",
		"rule 3: attempts are -2", "rule 3: delay 1µs",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named:\n%v", want, err)
		}
	}
}
