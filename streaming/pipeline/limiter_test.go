package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// limited is an instance with several lanes that share limits.
type limited struct {
	t       *testing.T
	codec   *schemas.Codec
	limiter *pipeline.Limiter
	lanes   []*pipeline.Lane
	handle  func(context.Context, *streaming.Delivery) error

	mu      sync.Mutex
	begin   time.Time
	starts  []started
	running int
	most    int // handlers at once

	written map[string]int // records by topic
}

// Append implements pipeline.Appender.
func (x *limited) Append(rec *streaming.Record, done func(int64, error)) {
	x.mu.Lock()
	x.written[rec.Topic]++
	x.mu.Unlock()
	done(0, nil)
}

type started struct {
	lane    int
	at      time.Duration
	id      string
	attempt int
}

func newLimited(t *testing.T, limits streaming.Limits, lanes int, handle func(context.Context, *streaming.Delivery) error) *limited {
	x := &limited{
		t: t, codec: schemas.NewCodec(schemas.NewMemoryRegistry()), limiter: pipeline.NewLimiter(limits), handle: handle, begin: time.Now(),
		written: make(map[string]int),
	}
	clock := streaming.SystemClock{}
	for i := range lanes {
		l := pipeline.NewLane(t.Context(), pipeline.Config{
			Agent: "a", Group: "a", Namespace: "parley", Topic: "in", Partition: int32(i), Inbox: true, Tiers: []string{"tier"},
			DeadLetterTopic: "dead", LedgerTopic: "ledger", Handlers: map[string]streaming.Handler{"agent.error": onLane{x, i}},
			Policy:   retry.Policy{Tiers: []time.Duration{time.Second}, Attempts: 3},
			Parallel: 16, MaxPending: 10000, MaxHeld: 10, MaxWaiting: 1000, Codec: x.codec, Log: x, Loader: nowhere{},
			Limiter: x.limiter, Breaker: new(pipeline.Breaker), Gate: new(pipeline.Gate),
			Clock: clock, Observer: pipeline.Unobserved{}, Logger: slog.New(slog.DiscardHandler),
			Trace:  func(p, s string) (string, string) { return p, s },
			OnRoom: func() {}, OnStop: func() {}, OnFail: func(err error) { t.Error(err) },
			Facts: ledger.NewWindow(time.Hour, 10000, clock.Now),
		})
		l.Open(1, 0, []int64{0})
		x.lanes = append(x.lanes, l)
	}
	return x
}

// onLane is the handler of one lane.
type onLane struct {
	x    *limited
	lane int
}

func (onLane) New() any { return new(schemas.ErrorReply) }

func (h onLane) Handle(ctx context.Context, d *streaming.Delivery) error {
	x := h.x
	x.mu.Lock()
	x.starts = append(x.starts, started{h.lane, time.Since(x.begin), d.Envelope.ID, d.Attempt})
	x.running++
	x.most = max(x.most, x.running)
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		x.running--
		x.mu.Unlock()
	}()
	return x.handle(ctx, d)
}

// offer gives each lane that many messages, each of a key of its own.
func (x *limited) offer(n int, change ...func(*streaming.Envelope)) {
	x.t.Helper()
	value, err := x.codec.Encode(x.t.Context(), &schemas.ErrorReply{})
	if err != nil {
		x.t.Fatal(err)
	}
	for i, l := range x.lanes {
		var recs []streaming.Record
		for j := range n {
			env := streaming.Envelope{ID: fmt.Sprintf("%d-%d", i, j), Source: "s", Type: "agent.error", Hops: 1}
			for _, c := range change {
				c(&env)
			}
			recs = append(recs, streaming.Record{
				Topic: "in", Partition: int32(i), Offset: int64(j), Key: []byte(env.ID), Value: value, Headers: schemas.AppendEnvelope(nil, &env),
			})
		}
		l.Offer(0, recs)
	}
}

func (x *limited) close() {
	for _, l := range x.lanes {
		l.Close(context.Background(), time.Hour)
	}
}

// seen are the starts so far.
func (x *limited) seen() []started {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.starts)
}

func (x *limited) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.starts = nil
}

func (x *limited) atOnce() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.most
}

// to counts the records that were written to a topic.
func (x *limited) to(topic string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.written[topic]
}

// perMinute is how many handlers were started in each minute.
func (x *limited) perMinute() (counts []int) {
	for _, s := range x.seen() {
		for len(counts) <= int(s.at/time.Minute) {
			counts = append(counts, 0)
		}
		counts[s.at/time.Minute]++
	}
	return counts
}

// mostInAMinute is the largest number of starts in any minute, whenever it
// begins.
func (x *limited) mostInAMinute() (most int) {
	first, starts := 0, x.seen()
	for i, s := range starts {
		for s.at-starts[first].at >= time.Minute {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (x *limited) want(what string, got, want any) {
	x.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		x.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// pass lets time pass and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
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
		x := newLimited(t, streaming.Limits{RequestsPerMinute: 6, Handlers: 1}, 2, func(context.Context, *streaming.Delivery) error {
			time.Sleep(4 * time.Second)
			return nil
		})
		x.offer(2)
		pass(time.Hour)
		// Four starts: after each but the last the others wait 4 s for the handler and 6 s more for the next request.
		x.want("waited", x.limiter.Waited(time.Now()), fmt.Sprint(map[streaming.Limit]time.Duration{"handlers": 12 * time.Second, "requests": 18 * time.Second}))
		x.want("waited since", x.limiter.Waited(time.Now()), "map[]")
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
		x.want("acks", x.to("parley.inbox.s"), 4)
		x.close()
	})
}
