package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

func withTimeout(cfg *pipeline.Config) { cfg.HandlerTimeout = time.Second }

func TestAHandlerThatRunsOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newInstance(t, 1, func(ctx context.Context, _ *streaming.Delivery) error {
			<-ctx.Done()
			if cause := context.Cause(ctx); cause != streaming.ErrHandlerTimeout { //nolint:errorlint // as it is
				t.Errorf("the context's cause is %v", cause)
			}
			return ctx.Err()
		}, withTimeout)
		x.offer(1)
		pass(time.Minute)
		// An attempt takes 1 s, the tier's delay is 1 s.
		x.want("starts", x.seen(), "[0-0#1@0s 0-0#2@2s 0-0#3@4s]")
		for topic, n := range map[string]int{"tier": 2, "dead": 1} {
			recs := x.to(topic)
			x.want("records in "+topic, len(recs), n)
			for _, rec := range recs {
				if reason, _ := rec.Header("parley-reason"); string(reason) != "timeout" {
					t.Errorf("the reason in %s is %q", topic, reason)
				}
			}
		}
		x.close()
	})
}

// An error that has nothing to do with the time is what it is; so is a handler
// that is done before its time.
func TestATimeoutIsNotTheReasonOfWhatEndedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newInstance(t, 1, func(context.Context, *streaming.Delivery) error {
			time.Sleep(time.Second - 1)
			return errors.New("wrong")
		}, withTimeout)
		x.offer(1)
		pass(time.Minute)
		dead := x.to("dead")
		x.want("dead letters", len(dead), 1)
		if reason, _ := dead[0].Header("parley-reason"); string(reason) != "handler" {
			t.Errorf("the reason is %q", reason)
		}
		x.close()
	})
}

// A handler that goes on after its time keeps its key, is not settled and holds
// the watermark until it returns; what it returns then counts.
func TestAHandlerThatIgnoresItsContextIsNotSettledWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newInstance(t, 1, func(ctx context.Context, d *streaming.Delivery) error {
			if d.Envelope.ID == "0-0" && d.Attempt == 1 {
				time.Sleep(time.Minute)
				return ctx.Err()
			}
			time.Sleep(10 * time.Second)
			return nil
		}, withTimeout)
		n := 0
		x.offer(3, func(env *streaming.Envelope) {
			env.CorrelationID = "key " + fmt.Sprint(n/2) // the first two share one
			n++
		})
		pass(time.Minute - time.Nanosecond)
		first := x.seen()
		slices.SortFunc(first, func(a, b started) int { return strings.Compare(a.id, b.id) })
		x.want("starts, none of the same key", first, "[0-0#1@0s 0-2#1@0s]")
		x.want("committed while it runs", x.lanes[0].Positions().Commit[0], 0)
		x.want("marks of others", len(x.to("ledger")), 1)
		pass(time.Nanosecond)
		x.want("copies in the tier", len(x.to("tier")), 2)
		pass(time.Minute)
		// Its retry is due a second after its end; then the one that waited behind.
		x.want("starts", x.seen()[2:], "[0-0#2@1m1s 0-1#1@1m11s]")
		x.want("committed in the end", x.lanes[0].Positions().Commit[0], 3)
		x.close()
	})
}

func TestDrainingIsBoundedThoughAHandlerIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newInstance(t, 1, func(context.Context, *streaming.Delivery) error {
			time.Sleep(time.Hour)
			return nil
		}, withTimeout)
		x.offer(2)
		pass(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		x.lanes[0].Close(ctx, 5*time.Second)
		x.want("drained after", time.Since(begin), 10*time.Second)
		pass(2 * time.Hour) // it comes back to a lane that is gone
		x.want("committed", x.lanes[0].Positions().Commit[0], 0)
		x.want("marks", len(x.to("ledger")), 0)
	})
}

// What a breaker's probes and pauses look like from the handler's side, and that
// they count no attempt.
func TestProbesBackOffAndCountNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(5*time.Minute + 30*time.Second)
		x := newInstance(t, 3, func(context.Context, *streaming.Delivery) error {
			if time.Now().Before(up) {
				return &streaming.UnavailableError{Err: errors.New("the model is down")}
			}
			return nil
		}, func(cfg *pipeline.Config) { cfg.Parallel = 1 })
		x.offer(1)
		pass(time.Hour)
		var probes []string
		for _, s := range x.seen() {
			if s.attempt != 1 {
				t.Errorf("%s is attempt %d", s.id, s.attempt)
			}
			if s.at > 0 && x.begin.Add(s.at).Before(up) {
				probes = append(probes, s.at.String())
			}
		}
		// One message at a time, whichever lane's.
		x.want("probes while it is down", probes, "[1s 3s 7s 15s 31s 1m3s 2m3s 3m3s 4m3s 5m3s]")
		x.want("the last is handled at", x.seen()[len(x.seen())-1].at, 6*time.Minute+3*time.Second)
		x.want("dead or retrying", len(x.to("dead"))+len(x.to("tier")), 0)
		x.close()
	})
}
