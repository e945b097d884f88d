package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// bubble is a fake broker in virtual time, with an agent of three partitions.
type bubble struct {
	*testing.T
	fake     *kfake.Cluster
	cluster  *streamtest.Cluster
	platform *agents.Platform
	sender   *agents.Sender
	cfg      agents.Config

	mu    sync.Mutex
	begun time.Time
	runs  []*handling
	keys  int
}

// handling is one run of the handler.
type handling struct {
	id, worker string
	number     int
	start, end time.Duration // since the test began; end 0: it runs
	cancelled  time.Duration // when its context was
}

func (h handling) name() string { return fmt.Sprint(h.worker, "/", h.number) }

// inBubbles runs a test in both modes and group protocols, each in virtual time.
func inBubbles(t *testing.T, test func(*bubble)) {
	inEachMode(t, func(t *testing.T, exactlyOnce bool) {
		for _, protocol := range []kafka.GroupProtocol{kafka.ProtocolClassic, kafka.ProtocolConsumer} {
			t.Run(string(protocol), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := &bubble{T: t, cfg: agents.Config{Retry: quick, ExactlyOnce: exactlyOnce, GroupProtocol: protocol}}
					b.open()
					test(b)
				})
			})
		}
	})
}

func (b *bubble) open() {
	var network kfake.VirtualNetwork
	var err error
	if b.fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen),
		kfake.SeedTopics(3, "parley.events.done")); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(b.fake.Close)
	b.cluster = &streamtest.Cluster{Brokers: b.fake.ListenAddrs(), Schemas: schemas.NewMemoryRegistry(), Dialer: network.DialContext}
	if b.platform, err = agents.Connect(b.Context(), agents.PlatformConfig{
		Brokers: b.cluster.Brokers, Schemas: b.cluster.Schemas, Partitions: 3, Dialer: b.cluster.Dialer,
		Logger: slog.New(slog.NewTextHandler(b.T.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}); err != nil {
		b.Fatal(err)
	}
	if b.sender, err = b.platform.Sender("giver"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(b.sender.Close)
	b.begun = time.Now()
}

// worker starts a worker whose handler takes as long as the message says. With
// deaf it does not look at its context.
func (b *bubble) worker(name string, deaf bool) *worker.Worker {
	cfg := b.cfg
	cfg.Instance = name
	a := agents.New("taker", cfg)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		h := &handling{id: m.ID(), worker: name, start: time.Since(b.begun)}
		b.mu.Lock()
		h.number = len(b.runs)
		b.runs = append(b.runs, h)
		b.mu.Unlock()
		note := context.AfterFunc(ctx, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			h.cancelled = time.Since(b.begun)
		})
		defer note()
		takes, _ := time.ParseDuration(m.Payload.Message)
		if deaf {
			time.Sleep(takes)
		} else {
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
		}
		b.mu.Lock()
		h.end = time.Since(b.begun)
		b.mu.Unlock()
		if !deaf && ctx.Err() != nil {
			return ctx.Err()
		}
		return m.Publish("done", &schemas.ErrorReply{Reason: m.ID(), Message: h.name()})
	})
	w, err := b.platform.Worker(a)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.Run(ctx); err != nil {
			b.Errorf("worker %s: %v", name, err)
		}
	}()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	return w
}

// send sends a message of a key of its own to a partition.
func (b *bubble) send(id string, partition int, takes time.Duration) {
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic("")
	key := ""
	for {
		b.keys++
		if key = fmt.Sprint(b.keys); byKey.Partition(&kgo.Record{Key: []byte(key)}, 3) == partition {
			break
		}
	}
	if err := b.sender.Send(b.Context(), b.sender.ToAgent("taker", &schemas.ErrorReply{Message: takes.String()}, agents.ID(id), agents.Key(key))); err != nil {
		b.Fatal(err)
	}
}

// of returns the runs of a message.
func (b *bubble) of(id string) []handling {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []handling
	for _, h := range b.runs {
		if h.id == id {
			all = append(all, *h)
		}
	}
	return all
}

// outputs returns which runs have settled their message, by its ID.
func (b *bubble) outputs() map[string][]string {
	out := map[string][]string{}
	for _, r := range b.cluster.ReadAll(b, "parley.events.done") {
		var reply schemas.ErrorReply
		if err := b.platform.Codec().Decode(b.Context(), r.Value, &reply, schemas.TypeErrorReply); err != nil {
			b.Fatal(err)
		}
		out[reply.Reason] = append(out[reply.Reason], reply.Message)
	}
	return out
}

func TestALongHandlerKeepsItsMembership(t *testing.T) {
	inBubbles(t, func(b *bubble) {
		<-b.worker("a", false).Ready()
		b.send("long", 0, 10*time.Minute)
		for i := range 9 {
			time.Sleep(time.Minute)
			b.send(fmt.Sprint("quick-", i), i%3, 0)
		}
		time.Sleep(2 * time.Minute)
		for id, runs := range b.outputs() {
			if len(runs) != 1 || len(b.of(id)) != 1 {
				b.Errorf("%s ran %d times, with outputs of %v", id, len(b.of(id)), runs)
			}
		}
		if h := b.of("long")[0]; h.end-h.start != 10*time.Minute || h.cancelled != 0 {
			b.Errorf("the long handler: %+v", h)
		}
		for i := range 9 {
			if h := b.of(fmt.Sprint("quick-", i)); len(h) != 1 || h[0].start > time.Duration(i+1)*time.Minute+time.Second {
				b.Errorf("beside the long handler: %+v", h)
			}
		}
	})
}

// A second worker gets its share although handlers of ten minutes run in every
// partition. The context of the handler whose partition moves is cancelled; the
// others are left alone.
func TestARebalanceIsNotHeldUpByLongHandlers(t *testing.T) {
	inBubbles(t, func(b *bubble) { b.rebalance(false, 25*time.Second) })
}

// A handler that does not look at its context holds a rebalance up for the drain
// timeout only, and what it comes to counts no more.
func TestDrainingADeafHandlerIsBounded(t *testing.T) {
	inBubbles(t, func(b *bubble) { b.rebalance(true, 30*time.Second) })
}

func (b *bubble) rebalance(deaf bool, within time.Duration) {
	<-b.worker("a", deaf).Ready()
	ids := []string{"long-0", "long-1", "long-2"}
	for i, id := range ids {
		b.send(id, i, 10*time.Minute)
	}
	time.Sleep(time.Minute)
	b.worker("b", deaf)
	time.Sleep(25 * time.Minute)
	moved := 0
	out := b.outputs()
	for _, id := range ids {
		runs := b.of(id)
		switch len(runs) {
		case 1:
			if h := runs[0]; h.worker != "a" || h.cancelled != 0 || h.end-h.start != 10*time.Minute {
				b.Errorf("%s, which stayed: %+v", id, h)
			}
		case 2:
			moved++
			if h := runs[0]; h.worker != "a" || h.cancelled == 0 || h.cancelled > time.Minute+within {
				b.Errorf("%s, before it moved: %+v", id, h)
			}
			if h := runs[1]; h.worker != "b" || h.cancelled != 0 || h.start > time.Minute+within {
				b.Errorf("%s, after it moved: %+v", id, h)
			}
		default:
			b.Errorf("%s ran %d times", id, len(runs))
		}
		if want := runs[len(runs)-1].name(); len(out[id]) != 1 || out[id][0] != want {
			b.Errorf("%s: outputs of %v, want of %s alone", id, out[id], want)
		}
	}
	if moved != 1 {
		b.Errorf("%d partitions moved, want 1", moved)
	}
}

// What a handler comes to after its partition was lost is neither sent nor
// committed.
func TestWhatWasLostCommitsNothing(t *testing.T) {
	inBubbles(t, func(b *bubble) {
		<-b.worker("a", true).Ready()
		b.send("long", 0, time.Minute)
		time.Sleep(30 * time.Second)
		b.fake.ControlKey(kmsg.Heartbeat.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
			resp.ErrorCode = kerr.IllegalGeneration.Code
			return resp, nil, true
		})
		b.fake.ControlKey(kmsg.ConsumerGroupHeartbeat.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
			resp.ErrorCode = kerr.FencedMemberEpoch.Code
			return resp, nil, true
		})
		time.Sleep(35 * time.Second) // the first run has ended, the second has not
		runs := b.of("long")
		if len(runs) != 2 || runs[0].cancelled == 0 || runs[0].end == 0 || runs[1].end != 0 {
			b.Fatalf("%+v", runs)
		}
		if out := b.outputs(); len(out) > 0 {
			b.Errorf("the lost run has sent %v", out)
		}
		committed, err := kadm.NewClient(b.cluster.Client(b)).FetchOffsets(b.Context(), "taker")
		if err != nil {
			b.Fatal(err)
		}
		if at, ok := committed.Lookup("parley.inbox.taker", 0); ok && at.At > 0 {
			b.Errorf("the lost run has committed %d", at.At)
		}
		time.Sleep(time.Minute)
		if out := b.outputs(); len(out["long"]) != 1 || out["long"][0] != runs[1].name() {
			b.Errorf("%v, want one output of the second run", out)
		}
	})
}
