package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// echo publishes what it gets.
type echo struct{ codec *schemas.Codec }

func (echo) New() any { return new(schemas.ErrorReply) }

func (e echo) Handle(ctx context.Context, d *streaming.Delivery) error {
	value, err := e.codec.Encode(ctx, d.Payload.(*schemas.ErrorReply))
	if err != nil {
		return err
	}
	d.Outbox.Stage(streaming.Outgoing{
		Envelope: streaming.Envelope{Type: "agent.error", Kind: streaming.KindEvent}, Topic: "out", Partition: -1, Key: d.Key, Value: value,
	})
	return nil
}

// batching acknowledges from a goroutine of its own what has collected there
// meanwhile, as the client does, or what has collected in a pause, as a
// transaction does.
type batching struct {
	pause time.Duration
	mu    sync.Mutex
	done  []func(int64, error)
	wake  chan struct{}
	total atomic.Int64
}

func newBatching(ctx context.Context, pause time.Duration) *batching {
	b := &batching{pause: pause, wake: make(chan struct{}, 1)}
	go func() {
		offset := int64(0)
		for {
			select {
			case <-ctx.Done():
				return
			case <-b.wake:
			}
			time.Sleep(b.pause)
			b.mu.Lock()
			done := b.done
			b.done = nil
			b.mu.Unlock()
			for _, d := range done {
				d(offset, nil)
				offset++
			}
			b.total.Add(int64(len(done)))
		}
	}()
	return b
}

func (b *batching) Append(_ *streaming.Record, done func(int64, error)) {
	b.mu.Lock()
	b.done = append(b.done, done)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCopy is what a message costs from the poll to its mark, without the
// client: decoded, handled, one output, settled. What is acknowledged at once is
// a copy at least once on an idle broker; what waits is one exactly once, with as
// many messages in memory as six lanes have there.
func BenchmarkCopy(b *testing.B) {
	for _, c := range []struct {
		name    string
		pending int
		pause   time.Duration
	}{{"at once", 1536, 0}, {"waiting", 6 * 4096, 30 * time.Millisecond}} {
		b.Run(c.name, func(b *testing.B) { benchmarkCopy(b, c.pending, c.pause) })
	}
}

func benchmarkCopy(b *testing.B, pending int, pause time.Duration) {
	codec := schemas.NewCodec(schemas.NewMemoryRegistry())
	clock := streaming.SystemClock{}
	room := make(chan struct{}, 1)
	l := pipeline.NewLane(b.Context(), pipeline.Config{
		Agent: "a", Group: "a", Namespace: "parley", Topic: "in", Tiers: []string{"t1", "t2", "t3", "t4"}, DeadLetterTopic: "dead", LedgerTopic: "ledger",
		Handlers: map[string]streaming.Handler{"agent.error": echo{codec}}, Policy: retry.Policy{}.WithDefaults(),
		Parallel: 16, MaxPending: pending, MaxHeld: 1024, Codec: codec, Log: newBatching(b.Context(), pause), Clock: clock, Observer: pipeline.Unobserved{},
		Logger: slog.New(slog.DiscardHandler), Trace: telemetry.Propagate, Breaker: new(pipeline.Breaker), Gate: new(pipeline.Gate),
		OnRoom: func() { room <- struct{}{} }, OnStop: func() {}, OnFail: func(err error) { b.Error(err) },
		Facts: ledger.NewWindow(time.Hour, 1_000_000, clock.Now),
	})
	l.Open(1, 0, []int64{0, 0, 0, 0})
	value, err := codec.Encode(b.Context(), &schemas.ErrorReply{Reason: "handler", Message: string(make([]byte, 480))})
	if err != nil {
		b.Fatal(err)
	}
	keys := make([][]byte, 10_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "device-%05d", i)
	}
	b.ReportAllocs()
	used := cpuTime()
	b.ResetTimer()
	for from := 0; from < b.N; from += 256 {
		if l.Offer(0, polled(from, min(256, b.N-from), keys, value)) {
			<-room
		}
	}
	for l.Positions().Commit[0] < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-used)/float64(b.N), "cpu-ns/op") // of all goroutines: what counts where others share the cores
	l.Close(b.Context(), time.Minute)
}

// polled are records as the client hands them over, made when they are needed: a
// heap that held them all would be collected far less often than a worker's.
func polled(from, n int, keys [][]byte, value []byte) []streaming.Record {
	env := streaming.Envelope{
		ID: schemas.NewID(), Source: "feed", Type: "agent.error", Kind: streaming.KindEvent, Time: time.Now(), Hops: 32, TraceParent: telemetry.Child(""),
	}
	env.CorrelationID = env.ID
	prefix := env.ID[:len(env.ID)-10]
	recs := make([]streaming.Record, n)
	headers := make([]streaming.Header, 0, n*14)
	values := make([]byte, 0, n*len(value))
	for i := range recs {
		env.ID = prefix + strconv.Itoa(1_000_000_000+from+i)
		h, v := len(headers), len(values)
		headers, values = schemas.AppendEnvelope(headers, &env), append(values, value...)
		recs[i] = streaming.Record{
			Topic: "in", Offset: int64(from + i), Timestamp: env.Time, Key: keys[(from+i)%len(keys)], Value: values[v:len(values):len(values)],
			Headers: headers[h:len(headers):len(headers)],
		}
	}
	return recs
}
