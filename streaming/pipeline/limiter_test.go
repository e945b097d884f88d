package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

func newLimited(t *testing.T, limits streaming.Limits, lanes int, handle func(context.Context, *streaming.Delivery) error) *instance {
	return newInstanceOf(t, pipeline.NewLimiter(limits), lanes, handle)
}

func newInstanceOf(t *testing.T, limiter *pipeline.Limiter, lanes int, handle func(context.Context, *streaming.Delivery) error) *instance {
	return newInstance(t, lanes, handle, func(cfg *pipeline.Config) { cfg.Limiter = limiter })
}

func TestRequestsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newLimited(t, streaming.Limits{RequestsPerMinute: 21}, 3, func(context.Context, *streaming.Delivery) error {
			time.Sleep(time.Second)
			return nil
		})
		x.offer(35)
		pass(10 * time.Minute)
		x.want("starts by minute", x.perMinute(), "[21 21 21 21 21]")
		x.want("in any minute", x.mostInAMinute(), 21)
		// After a pause nothing is saved up.
		x.forget()
		x.offer(70)
		pass(10*time.Minute - time.Nanosecond)
		x.want("in any minute after a pause", x.mostInAMinute(), 21)
		x.close()
	})
}

func TestTokensPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newLimited(t, streaming.Limits{TokensPerMinute: 6000}, 3, func(_ context.Context, d *streaming.Delivery) error {
			time.Sleep(25 * time.Second) // longer than the 10 s that one call is worth
			d.Spend(400)
			d.Spend(600)
			return nil
		})
		x.offer(10)
		pass(20 * time.Minute)
		// The first tells what a call costs. Those that follow run side by side.
		x.want("starts by minute", x.perMinute(), "[4 6 6 6 6 2]")
		x.want("at once", x.atOnce(), 3)
		x.close()
	})
}

func TestTokensSpentTooMuchAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cost := map[string]float64{"0-1": 20_000}
		x := newLimited(t, streaming.Limits{TokensPerMinute: 1000, Handlers: 1}, 1, func(_ context.Context, d *streaming.Delivery) error {
			d.Spend(cost[d.Envelope.ID])
			return nil
		})
		x.offer(3)
		pass(20*time.Minute - time.Nanosecond)
		x.want("starts before the debt is paid", len(x.seen()), 2)
		pass(time.Nanosecond)
		x.want("starts after", len(x.seen()), 3)
		x.close()
	})
}

func TestHandlersAtOnceAreSharedFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newLimited(t, streaming.Limits{Handlers: 4}, 6, func(_ context.Context, d *streaming.Delivery) error {
			time.Sleep(time.Second)
			return nil
		})
		x.offer(40)
		pass(30*time.Second - time.Nanosecond)
		byLane := make([]int, 6)
		for _, s := range x.seen()[4:] { // nobody else waited for the first
			byLane[s.lane]++
		}
		x.want("at once", x.atOnce(), 4)
		if slices.Max(byLane)-slices.Min(byLane) > 3 { // those of one moment queue up again in any order
			t.Errorf("starts by lane: %v", byLane)
		}
		pass(time.Minute)
		x.want("handled", len(x.seen()), 240)
		for _, s := range x.seen() {
			if s.attempt != 1 {
				t.Fatalf("%s: waiting has counted an attempt", s.id)
			}
		}
		x.close()
	})
}

// What a lane has taken or waits for is the others' when it is gone; a handler
// that goes on counts until it ends.
func TestALaneThatIsLostLeavesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newLimited(t, streaming.Limits{Handlers: 1}, 3, func(_ context.Context, d *streaming.Delivery) error {
			time.Sleep(10 * time.Second) // whatever its context says
			return nil
		})
		x.offer(2)
		pass(time.Second)
		x.want("running", len(x.seen()), 1)
		x.lanes[x.seen()[0].lane].Abort()
		next := (x.seen()[0].lane + 1) % 3
		x.lanes[next].Abort() // it waits
		pass(8 * time.Second)
		x.want("running beside the lost lane's", len(x.seen()), 1)
		pass(2 * time.Second)
		x.want("started after it", len(x.seen()), 2)
		pass(time.Hour)
		x.want("the third lane's are handled", len(x.seen()), 3)
		x.want("at once", x.atOnce(), 1)
		for i, l := range x.lanes {
			if i == 3-next-x.seen()[0].lane {
				l.Close(context.Background(), time.Hour)
			}
		}
	})
}

// Whose handler is not started, as the message is dead already, gives its
// request back.
func TestOnlyHandlersCountAsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newLimited(t, streaming.Limits{RequestsPerMinute: 1}, 2, func(context.Context, *streaming.Delivery) error { return nil })
		n := 0
		x.offer(10, func(env *streaming.Envelope) {
			if n++; n != 10 {
				env.Hops = -1
			}
		})
		pass(time.Second)
		x.want("handled at once", len(x.seen()), 1)
		x.close()
	})
}

func TestWaitingIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := pipeline.NewLimiter(streaming.Limits{RequestsPerMinute: 6, Handlers: 1})
		x := newInstanceOf(t, limiter, 2, func(context.Context, *streaming.Delivery) error {
			time.Sleep(4 * time.Second)
			return nil
		})
		x.offer(2)
		pass(time.Hour)
		// Four starts: after each but the last the others wait 4 s for the handler and 6 s more for the next request.
		x.want("waited", limiter.Waited(time.Now()), fmt.Sprint(map[streaming.Limit]time.Duration{"handlers": 12 * time.Second, "requests": 18 * time.Second}))
		x.want("waited since", limiter.Waited(time.Now()), "map[]")
		x.want("handled", len(x.seen()), 4)
		x.close()
	})
}

// A message that waits for its turn takes it once, whatever its sender wants to
// be told.
func TestAnAckOfDeliveryTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newLimited(t, streaming.Limits{RequestsPerMinute: 1}, 2, func(context.Context, *streaming.Delivery) error { return nil })
		x.offer(2, func(env *streaming.Envelope) { env.Ack = streaming.AckDelivered })
		pass(time.Hour)
		x.want("starts by minute", x.perMinute(), "[1 1 1 1]")
		x.want("acks", len(x.to("parley.inbox.s")), 4)
		x.close()
	})
}
