package pipeline_test

import (
	"cmp"
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

// instance is an instance of an agent with several lanes.
type instance struct {
	t      *testing.T
	codec  *schemas.Codec
	lanes  []*pipeline.Lane
	handle func(context.Context, *streaming.Delivery) error

	mu      sync.Mutex
	begin   time.Time
	starts  []started
	running int
	most    int // handlers at once

	written map[string][]*streaming.Record // by topic
	room    []int                          // by lane: how often it took records again
	reading int
	read    int // at once, at most
	bytes   int
	held    int // bytes in memory, at most
}

// Append implements pipeline.Appender.
func (x *instance) Append(rec *streaming.Record, done func(int64, error)) {
	x.mu.Lock()
	x.written[rec.Topic] = append(x.written[rec.Topic], rec)
	offset := len(x.written[rec.Topic]) - 1
	x.mu.Unlock()
	done(int64(offset), nil)
}

type started struct {
	lane    int
	at      time.Duration
	id      string
	attempt int
}

func (s started) String() string { return fmt.Sprintf("%s#%d@%s", s.id, s.attempt, s.at) }

// newInstance runs lanes over a log that acknowledges at once. change is asked of
// each lane's configuration.
func newInstance(t *testing.T, lanes int, handle func(context.Context, *streaming.Delivery) error, change func(*pipeline.Config)) *instance {
	x := &instance{
		t: t, codec: schemas.NewCodec(schemas.NewMemoryRegistry()), handle: handle, begin: time.Now(),
		written: make(map[string][]*streaming.Record),
	}
	x.room = make([]int, lanes)
	clock := streaming.SystemClock{}
	breaker := &pipeline.Breaker{Closed: func() {
		for _, l := range x.lanes {
			l.Wake()
		}
	}}
	for i := range lanes {
		cfg := pipeline.Config{
			Agent: "a", Group: "a", Namespace: "parley", Topic: "in", Partition: int32(i), Inbox: true, Tiers: []string{"tier"},
			DeadLetterTopic: "dead", LedgerTopic: "ledger", Handlers: map[string]streaming.Handler{"agent.error": onLane{x, i}},
			Policy:   retry.Policy{Tiers: []time.Duration{time.Second}, Attempts: 3},
			Parallel: 16, MaxPending: 10000, MaxHeld: 10, MaxWaiting: 1000, Codec: x.codec, Log: x, Loader: x,
			Breaker: breaker, Gate: new(pipeline.Gate),
			Clock: clock, Observer: bytesObserver{x: x}, Logger: slog.New(slog.DiscardHandler),
			Trace: func(p, s string) (string, string) { return p, s },
			OnRoom: func() {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.room[i]++
			},
			OnStop: func() {}, OnFail: func(err error) { t.Error(err) },
			Facts: ledger.NewWindow(time.Hour, 10000, clock.Now),
		}
		change(&cfg)
		l := pipeline.NewLane(t.Context(), cfg)
		l.Open(1, 0, []int64{0})
		x.lanes = append(x.lanes, l)
	}
	return x
}

// Load implements pipeline.Loader.
func (x *instance) Load(_ context.Context, topic string, _ int32, offset int64) (streaming.Record, error) {
	x.mu.Lock()
	x.reading++
	x.read = max(x.read, x.reading)
	x.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reading--
	rec := x.written[topic][offset].Clone()
	rec.Offset = offset
	return rec, nil
}

// bytesObserver watches the memory.
type bytesObserver struct {
	pipeline.Unobserved
	x *instance
}

func (o bytesObserver) InFlightBytes(delta int) {
	o.x.mu.Lock()
	defer o.x.mu.Unlock()
	o.x.bytes += delta
	o.x.held = max(o.x.held, o.x.bytes)
}

// onLane is the handler of one lane.
type onLane struct {
	x    *instance
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

// offer gives each lane that many messages, each of a key of its own unless
// change says otherwise.
func (x *instance) offer(n int, change ...func(*streaming.Envelope)) {
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
				Topic: "in", Partition: int32(i), Offset: int64(j), Key: []byte(cmp.Or(env.CorrelationID, env.ID)), Value: value, Headers: schemas.AppendEnvelope(nil, &env),
			})
		}
		l.Offer(0, recs)
	}
}

func (x *instance) close() {
	for _, l := range x.lanes {
		l.Close(context.Background(), time.Hour)
	}
}

// seen are the starts so far.
func (x *instance) seen() []started {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.starts)
}

func (x *instance) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.starts = nil
}

func (x *instance) atOnce() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.most
}

// to are the records that were written to a topic.
func (x *instance) to(topic string) []*streaming.Record {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.written[topic])
}

// perMinute is how many handlers were started in each minute.
func (x *instance) perMinute() (counts []int) {
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
func (x *instance) mostInAMinute() (most int) {
	first, starts := 0, x.seen()
	for i, s := range starts {
		for s.at-starts[first].at >= time.Minute {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (x *instance) want(what string, got, want any) {
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
