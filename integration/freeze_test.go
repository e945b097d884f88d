//go:build integration

package integration

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

var (
	freezes     = flag.Int("freezes", 10, "workers that are frozen in mid-handler and woken after another has taken over")
	freezeCells = flag.Int("freeze-cells", 5, "how many of these at once")
	freezeSeed  = flag.Uint64("freeze-seed", 0, "seed of the freezes; 0: a new one")
)

// holderVariable makes the test binary a worker process whose handlers take
// their time and cannot be interrupted.
const holderVariable = "PARLEY_TEST_HOLDER"

// freezeSession is the session timeout of the workers that are frozen.
const freezeSession = 2 * time.Second

// cellPartitions keeps many cells on one broker light: each has two dozen topics.
const cellPartitions = 3

// freezeBroker lets sessions be that short, and ends what a frozen worker has
// left open soon after.
var freezeBroker = map[string]string{
	"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":                                "1000",
	"KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS":                       "1000",
	"KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS":                           strconv.FormatInt(freezeSession.Milliseconds(), 10),
	"KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS":                    "100",
	"KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS":                        "500",
	"KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
}

// runHolder is the worker process: brokers, registry, agent, mode, protocol, slot.
func runHolder(spec string) int {
	part := strings.Split(spec, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: []string{part[0]}, Registry: part[1], Register: true, Partitions: cellPartitions, Dialer: dialLate,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})).With("pid", os.Getpid()),
	})
	if err == nil {
		cfg := agents.Config{
			ExactlyOnce: part[3] == "exactly-once", GroupProtocol: kafka.GroupProtocol(part[4]), Instance: part[5],
			DrainTimeout: time.Second, Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 3},
		}
		if cfg.GroupProtocol == kafka.ProtocolClassic {
			cfg.SessionTimeout = freezeSession
		}
		var runs atomic.Int64
		a := agents.New(part[2], cfg)
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			run := fmt.Sprint(part[5], "/", os.Getpid(), "/", runs.Add(1))
			if hold, err := time.ParseDuration(m.Payload.Message); err == nil {
				fmt.Println(m.Payload.Reason, run)
				time.Sleep(hold) // deaf to its context, as a handler may be
				fmt.Println("ended", run)
			}
			return m.Publish(part[2], &schemas.ErrorReply{Reason: m.Payload.Reason, Message: run}, agents.Key(m.Key))
		})
		var w *worker.Worker
		if w, err = p.Worker(a); err == nil {
			go func() {
				<-w.Ready()
				fmt.Println("up", part[5])
			}()
			err = w.Run(ctx)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		return 1
	}
	return 0
}

// lateHeartbeats are connections on which heartbeats are slow to leave. A worker
// that wakes learns what it has lost from its first heartbeat: if that went out at
// once it would hardly ever try to commit what its handlers have come to.
type lateHeartbeats struct{ net.Conn }

func dialLate(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return lateHeartbeats{conn}, err
}

// Write implements net.Conn. The client writes one request at a time: its length
// in four bytes, then its key in two.
func (c lateHeartbeats) Write(request []byte) (int, error) {
	if len(request) > 6 {
		switch kmsg.Key(binary.BigEndian.Uint16(request[4:])) {
		case kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat:
			time.Sleep(300 * time.Millisecond) // the fault itself
		}
	}
	return c.Conn.Write(request)
}

// TestFrozenInMidHandler freezes workers in the middle of a handler, past their
// session, until another worker has taken over, and wakes them: the handler goes
// on and succeeds, and its worker does not know yet that it has lost everything.
//
// Exactly once nothing of it may become visible. At least once its outputs may,
// under IDs that are known, and the next agent acts once.
func TestFrozenInMidHandler(t *testing.T) {
	sum := inMidHandler(t, *freezes, *freezeCells, false)
	if sum.Rounds < *freezes || sum.ExactlyOnceLate > 0 || sum.ExactlyOnceRepeated > 0 || sum.UnknownIDs > 0 || sum.Repeated > 0 || sum.Lost > 0 || sum.Disorder > 0 {
		t.Error("a frozen worker was not fenced, or something was lost")
	}
}

// TestKilledInMidHandler kills them instead, and starts them anew: nothing of
// their handlers is left in either mode.
func TestKilledInMidHandler(t *testing.T) {
	sum := inMidHandler(t, 4, 4, true)
	if sum.Rounds < 4 || sum.ExactlyOnceLate+sum.AtLeastOnceLate > 0 || sum.ExactlyOnceRepeated > 0 || sum.UnknownIDs > 0 || sum.Repeated > 0 || sum.Lost > 0 || sum.Disorder > 0 {
		t.Error("lost, repeated, or not in order")
	}
}

// inMidHandler runs rounds in so many cells side by side.
func inMidHandler(t *testing.T, rounds, cells int, kill bool) frozen {
	t.Helper()
	seed := *freezeSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d; replay with -freeze-seed", seed)
	broker := cluster.StartKafka(t, cluster.KafkaOptions{Env: freezeBroker})
	registry, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registry.Close(context.Background()) }()

	var all sync.WaitGroup
	var mu sync.Mutex
	var sum frozen
	for i := range cells {
		rounds := (rounds + i) / cells
		c := &cell{
			t: t, kill: kill, rnd: rand.New(rand.NewPCG(seed, uint64(i))), brokers: broker.Bootstrap(), registry: registry.RegistryURL(),
			mode: []string{"exactly-once", "at-least-once"}[i%2], protocol: []string{"classic", "consumer"}[i/2%2],
		}
		c.name = fmt.Sprintf("cell-%d", i)
		all.Go(func() {
			if err := c.run(t.Context(), rounds); err != nil {
				t.Errorf("%s, %s, %s: %v", c.name, c.mode, c.protocol, err)
			}
			t.Logf("%s, %s, %s: %+v", c.name, c.mode, c.protocol, c.frozen)
			mu.Lock()
			defer mu.Unlock()
			sum.add(c.frozen)
		})
	}
	all.Wait()
	t.Logf("%+v", sum)
	return sum
}

// frozen are the counts of rounds.
type frozen struct {
	Rounds              int
	Messages            int
	InMidHandler        int // messages that a worker was handling when it was frozen or killed
	ExactlyOnceLate     int // of these, its output can be read all the same
	ExactlyOnceRepeated int // messages whose output can be read more than once
	AtLeastOnceLate     int // the same at least once: permitted of woken workers, under the same IDs
	UnknownIDs          int // outputs under an ID of their own
	Repeated            int // messages that the next agent has acted on more than once
	Lost                int // messages without an output, or that the next agent has not seen
	Disorder            int // outputs before those of older messages of their key; at least once it is promised around kills only
}

func (f *frozen) add(o frozen) {
	f.Rounds += o.Rounds
	f.Messages += o.Messages
	f.InMidHandler += o.InMidHandler
	f.ExactlyOnceLate += o.ExactlyOnceLate
	f.ExactlyOnceRepeated += o.ExactlyOnceRepeated
	f.AtLeastOnceLate += o.AtLeastOnceLate
	f.UnknownIDs += o.UnknownIDs
	f.Repeated += o.Repeated
	f.Lost += o.Lost
	f.Disorder += o.Disorder
}
