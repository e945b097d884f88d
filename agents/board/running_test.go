package board_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// price is what stands on the boards of these tests.
type price struct {
	Cents int64  `avro:"cents"`
	By    string `avro:"by"`
}

func (price) Schema() avro.Schema { return priceSchema }

var priceSchema = parsed(`{"type":"record","name":"test.Price","parley.type":"test.price","fields":[
	{"name":"cents","type":"long"},{"name":"by","type":"string","default":""}],
	"parley.rules":[{"id":"positive","expression":"this.cents >= 0"}]}`)

func parsed(text string) avro.Schema {
	schema, err := schemas.ParseSchema(text)
	if err != nil {
		panic(err)
	}
	return schema
}

var prices = board.New[price]("prices")

// quick is a keeper's configuration for tests.
var quick = agents.Config{Retry: retry.Policy{Tiers: []time.Duration{20 * time.Millisecond}, Attempts: 2}}

// shop is a platform with a requester and counters on it.
type shop struct {
	*agents.Platform
	cluster *streamtest.Cluster
	r       *agents.Requester
	counted *prometheus.Registry
}

func newShop(t testing.TB, change ...func(*agents.PlatformConfig)) *shop {
	t.Helper()
	c := streamtest.NewCluster(t)
	s := &shop{cluster: c, counted: prometheus.NewRegistry()}
	metrics, err := telemetry.New(s.counted)
	if err != nil {
		t.Fatal(err)
	}
	cfg := agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 3, Metrics: metrics, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	for _, ch := range change {
		ch(&cfg)
	}
	if s.Platform, err = agents.Connect(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if s.r, err = s.Requester(t.Context(), "asker"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.r.Close)
	return s
}

// start runs an agent until the test ends or stop is called.
func (s *shop) start(t testing.TB, a *agents.Agent) (stop func()) {
	t.Helper()
	w, err := s.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent %s: %v", a.Name(), err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		t.Fatalf("agent %s is not ready", a.Name())
	}
	return stop
}

func (s *shop) open(t testing.TB) *board.View[price] {
	t.Helper()
	v, err := prices.Open(t.Context(), s.Platform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// counter returns the value of a counter of the board.
func (s *shop) counter(t testing.TB, name, what string) int {
	t.Helper()
	families, err := s.counted.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == name && labels["board"] == "prices" && labels["what"] == what {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for begin := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// wait returns what the view says of a key once it has come to that version.
func wait(t testing.TB, v *board.View[price], key string, version int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := v.Wait(ctx, key, version); err != nil {
		t.Fatalf("wait for version %d of %s: %v", version, key, err)
	}
	return got(v.Get(key))
}

func got(p price, version int64, ok bool) string {
	return fmt.Sprintf("%d at %d, %t", p.Cents, version, ok)
}

// logged keeps lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
