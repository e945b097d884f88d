package contractnet_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// world is a platform with a manager, which negotiates each site that it is sent.
type world struct {
	*agents.Platform
	t       *testing.T
	cluster *streamtest.Cluster
	reg     *prometheus.Registry
	mgr     *contractnet.Manager[site, visit]
	sender  *agents.Sender
	over    chan *contractnet.Concluded[site, visit]
}

func newWorld(t *testing.T, cfg contractnet.Config, candidates ...string) *world {
	t.Helper()
	w := &world{t: t, cluster: streamtest.NewCluster(t), reg: prometheus.NewRegistry(), over: make(chan *contractnet.Concluded[site, visit], 100)}
	metrics, err := telemetry.New(w.reg)
	if err != nil {
		t.Fatal(err)
	}
	w.Platform, err = agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: w.cluster.Brokers, Schemas: w.cluster.Schemas, Partitions: 2, Metrics: metrics, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	boss := agents.New("boss", agents.Config{})
	agents.ProducesNothing(boss) // what the package sends is not declared
	w.mgr = contractnet.Manage(boss, "visit", cfg, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		w.over <- c
		return nil
	})
	agents.On(boss, func(ctx context.Context, m *agents.Message[site]) error {
		id, err := w.mgr.Call(ctx, m, m.Payload, candidates, contractnet.ID(m.Payload.Place))
		if err == nil && id != m.Payload.Place {
			t.Errorf("the ID is %q", id)
		}
		return err
	})
	w.start(boss)
	if w.sender, err = w.Sender("tester"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sender.Close)
	return w
}

// start runs an agent until the test ends or stop is called.
func (w *world) start(a *agents.Agent) (stop func()) {
	w.t.Helper()
	k, err := w.Worker(a)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("%s: %v", a.Name(), err)
		}
	})
	w.t.Cleanup(stop)
	select {
	case <-k.Ready():
	case <-time.After(20 * time.Second):
		w.t.Fatalf("%s is not ready", a.Name())
	}
	return stop
}

type bidFunc = func(context.Context, *contractnet.Call[site]) (contractnet.Offer, error)

type workFunc = func(context.Context, *contractnet.Job[site]) (visit, error)

// bidder starts an agent that bids.
func (w *world) bidder(name string, bid bidFunc, work workFunc, opts ...contractnet.BidOption) {
	w.t.Helper()
	a := agents.New(name, agents.Config{Retry: retry.Policy{Tiers: []time.Duration{10 * time.Millisecond}, Attempts: 2}})
	agents.ProducesNothing(a)
	contractnet.Bid(a, "visit", bid, work, opts...)
	w.start(a)
}

func costs(cost float64) bidFunc {
	return func(context.Context, *contractnet.Call[site]) (contractnet.Offer, error) {
		return contractnet.Cost(cost), nil
	}
}

func refuses(reason string) bidFunc {
	return func(context.Context, *contractnet.Call[site]) (contractnet.Offer, error) {
		return contractnet.Refuse(reason), nil
	}
}

func works(name string) workFunc {
	return func(context.Context, *contractnet.Job[site]) (visit, error) { return visit{By: name}, nil }
}

func fails(err error) workFunc {
	return func(context.Context, *contractnet.Job[site]) (visit, error) { return visit{}, err }
}

// negotiate has a site negotiated and returns the conclusion.
func (w *world) negotiate(place string) *contractnet.Concluded[site, visit] {
	w.t.Helper()
	w.send(w.sender, "boss", &site{Place: place})
	select {
	case c := <-w.over:
		return c
	case <-time.After(20 * time.Second):
		w.t.Fatal("the negotiation does not end")
		panic("unreachable")
	}
}

func (w *world) send(from *agents.Sender, to string, payload schemas.Message, opts ...agents.Option) {
	w.t.Helper()
	if err := from.Send(w.t.Context(), from.ToAgent(to, payload, opts...)); err != nil {
		w.t.Fatal(err)
	}
}

// counted waits until a counter has a value.
func (w *world) counted(name, label, value string, want float64) {
	w.t.Helper()
	got := 0.0
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		families, err := w.reg.Gather()
		if err != nil {
			w.t.Fatal(err)
		}
		got = 0
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if f.GetName() == name && l.GetName() == label && l.GetValue() == value {
						got += m.GetCounter().GetValue()
					}
				}
			}
		}
		if got == want {
			return
		}
	}
	w.t.Errorf("%s{%s=%q} is %v, want %v", name, label, value, got, want)
}

func (w *world) ignored(why contractnet.Why, want float64) {
	w.t.Helper()
	w.counted("parley_negotiation_messages_ignored_total", "why", string(why), want)
}

func standings(bids []contractnet.Standing) string {
	var all []string
	for _, b := range bids {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %v %s", b.Agent, b.Cost, b.Award)))
	}
	return strings.Join(all, ", ")
}
