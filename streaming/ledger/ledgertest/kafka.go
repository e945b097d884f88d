package ledgertest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// Kafka is the platform's own ledger: a window in memory over a topic of marks. Its
// owners are whole workers. A former owner beside a later one is not claimed to be
// without effect: at least once nothing can stop it, exactly once it is the
// effects in Kafka that are fenced.
func Kafka(cfg kafka.Config, codec *schemas.Codec, exactlyOnce bool) Kind {
	return Kind{
		New: func(t testing.TB, window time.Duration, size int) Ledger {
			log, err := kafka.NewLog(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(log.Close)
			l := &kafkaLedger{
				log: log, handlers: make(map[string]func(Message) error), effects: make(map[string]int), settled: make(map[string]bool),
			}
			l.cfg = worker.Config{
				Agent: "owner", Namespace: streaming.Namespace("ledger-" + schemas.NewID()[24:]), Kafka: cfg, Codec: codec, Partitions: 1,
				Handlers: map[string]streaming.Handler{"agent.error": l}, ExactlyOnce: exactlyOnce, Instance: "slot",
				Retry: retry.Policy{Tiers: []time.Duration{50 * time.Millisecond}, Attempts: 100}, DrainTimeout: time.Second,
				SessionTimeout: 6 * time.Second, CommitInterval: 10 * time.Millisecond, LedgerWindow: window, LedgerSize: size,
				Clock: l, Observe: func(string) pipeline.Observer { return ends{l: l} },
			}
			return l
		},
		Durable: true, Dead: true, Sized: true,
	}
}

type kafkaLedger struct {
	cfg worker.Config
	log *kafka.Log

	mu       sync.Mutex
	ahead    time.Duration
	handlers map[string]func(Message) error
	effects  map[string]int
	settled  map[string]bool
	ends     int // of messages: done, dead or recognised
}

// ends counts what comes to its end without its handler.
type ends struct {
	pipeline.Unobserved
	l *kafkaLedger
}

func (e ends) Duplicate()                    { e.l.end() }
func (e ends) DeadLettered(streaming.Reason) { e.l.end() }

// Now is the worker's clock.
func (l *kafkaLedger) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.ahead)
}

func (l *kafkaLedger) Pass(_ testing.TB, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead += d
}

func (l *kafkaLedger) Effects(_ testing.TB, id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.effects[id]
}

// New implements streaming.Handler.
func (l *kafkaLedger) New() any { return new(schemas.ErrorReply) }

// Handle implements streaming.Handler.
func (l *kafkaLedger) Handle(_ context.Context, d *streaming.Delivery) error {
	m := Message{d.Envelope.ID, d.Key}
	l.mu.Lock()
	handler := l.handlers[m.ID]
	l.mu.Unlock()
	err := handler(m)
	if errors.Is(err, ErrDead) {
		l.mu.Lock()
		l.settled[m.ID] = true
		l.mu.Unlock()
		return streaming.DeadLetter(streaming.ReasonPermanent, err)
	}
	if err == nil {
		d.Settled = func() {
			l.mu.Lock()
			l.effects[m.ID]++
			l.settled[m.ID] = true
			l.mu.Unlock()
			l.end()
		}
	}
	return err
}

func (l *kafkaLedger) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends++
}

func (l *kafkaLedger) Own(t testing.TB) Owner {
	w, err := worker.New(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-ended:
		t.Fatalf("the worker does not start: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the worker does not start")
	}
	o := &kafkaOwner{l: l, stopped: make(chan struct{})}
	o.stop = sync.OnceFunc(func() {
		defer close(o.stopped)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the worker: %v", err)
		}
	})
	return o
}

type kafkaOwner struct {
	l       *kafkaLedger
	stop    func()
	stopped chan struct{}
}

func (o *kafkaOwner) Stop() { o.stop() }

func (o *kafkaOwner) Handle(t testing.TB, handler func(Message) error, messages ...Message) {
	t.Helper()
	l, topic := o.l, o.l.cfg.Namespace.Inbox("owner")
	value, err := l.cfg.Codec.Encode(context.Background(), &schemas.ErrorReply{})
	if err != nil {
		t.Fatal(err)
	}
	recs := make([]*streaming.Record, len(messages))
	l.mu.Lock()
	before := l.ends
	for i, m := range messages {
		l.handlers[m.ID] = handler
		env := streaming.Envelope{ID: m.ID, Source: "suite", Type: "agent.error", Kind: streaming.KindCommand, Hops: 1, Time: time.Now()}
		recs[i] = pipeline.Record(&env, &streaming.Outgoing{Topic: topic, Partition: -1, Key: m.Key, Value: value})
	}
	l.mu.Unlock()
	if _, err := l.log.AppendSync(context.Background(), recs...); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		l.mu.Lock()
		n := l.ends - before
		for _, m := range messages {
			if !l.settled[m.ID] { // a duplicate may be recognised before
				n = 0
			}
		}
		l.mu.Unlock()
		if n >= len(messages) {
			return
		}
		select {
		case <-o.stopped: // the rest is the next owner's
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages have come to their ends", n, len(messages))
		}
		time.Sleep(time.Millisecond) // polls what other goroutines count
	}
}
