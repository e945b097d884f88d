package contractnet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
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

func TestTheBestBidGetsTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "far", "near", "busy")
	rejected := make(chan string, 10)
	w.bidder("far", costs(80), works("far"), contractnet.OnReject(func(_ context.Context, r *contractnet.Rejected) error {
		rejected <- r.Negotiation + " " + r.Reason
		return nil
	}))
	w.bidder("near", func(_ context.Context, c *contractnet.Call[site]) (contractnet.Offer, error) {
		if c.Manager != "boss" || c.Negotiation != c.Task.Place || time.Until(c.Closes).Abs() > 11*time.Second {
			t.Errorf("the call is %+v", c)
		}
		return contractnet.Cost(20), nil
	}, func(ctx context.Context, j *contractnet.Job[site]) (visit, error) {
		by, err := agents.Step(ctx, j.Message, "drive", func(context.Context) (string, error) { return "near", nil })
		if until, ok := ctx.Deadline(); j.Cost != 20 || !ok || !until.Equal(j.Until) {
			t.Errorf("the job is %+v, until %s", j, until)
		}
		return visit{By: by}, err
	})
	w.bidder("busy", refuses("busy"), works("busy"))
	c := w.negotiate("Fiji")
	if c.Err != nil || c.Winner != "near" || c.Result.By != "near" || c.Task.Place != "Fiji" || c.ID != "Fiji" || standings(c.Bids) != "near 20 done, far 80" {
		t.Errorf("concluded: %+v", c)
	}
	if got := <-rejected; got != "Fiji lost" {
		t.Error(got)
	}
	w.counted("parley_negotiations_total", "outcome", "done", 1)
	// Under the same ID it is not negotiated again.
	w.send(w.sender, "boss", &site{Place: "Fiji"})
	w.ignored(contractnet.WhyDuplicate, 1)
}

func TestTheNextBidGetsTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{Bids: 3 * time.Second, Work: 2 * time.Second}, "a", "b", "c", "d", "nobody")
	late := make(chan string, 10)
	w.bidder("a", costs(1), fails(&contractnet.FailedError{Reason: "no petrol"}))
	w.bidder("b", costs(2), fails(agents.Permanent(errors.New("no road"))))
	w.bidder("c", costs(3), func(context.Context, *contractnet.Job[site]) (visit, error) {
		<-time.After(3 * time.Second) // whatever its context says
		return visit{By: "c"}, nil
	}, contractnet.OnReject(func(_ context.Context, r *contractnet.Rejected) error {
		late <- r.Reason
		return nil
	}))
	w.bidder("d", costs(4), works("d"))
	c := w.negotiate("Fiji")
	if c.Err != nil || c.Winner != "d" || standings(c.Bids) != "a 1 failed, b 2 failed, c 3 silent, d 4 done" {
		t.Errorf("concluded: %+v", c)
	}
	if c.Bids[0].Failure != "no petrol" || !strings.Contains(c.Bids[1].Failure, "no road") {
		t.Errorf("failures: %+v", c.Bids)
	}
	w.counted("parley_negotiation_reawards_total", "why", "failed", 2)
	w.counted("parley_negotiation_reawards_total", "why", "silent", 1)
	w.ignored(contractnet.WhyReplaced, 1)
	if got := <-late; got != "withdrawn" {
		t.Error(got)
	}
}

func TestNobodyDoesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{Work: 200 * time.Millisecond}, "a", "b", "c")
	bids := costs(1)
	w.bidder("a", func(ctx context.Context, c *contractnet.Call[site]) (contractnet.Offer, error) { return bids(ctx, c) },
		func(ctx context.Context, _ *contractnet.Job[site]) (visit, error) {
			<-ctx.Done()
			return visit{}, ctx.Err()
		})
	w.bidder("b", refuses("busy"), works("b"))
	w.bidder("c", costs(math.Inf(1)), works("c")) // a dead letter
	c := w.negotiate("Fiji")
	var failed *contractnet.AllFailedError
	if !errors.As(c.Err, &failed) || len(failed.Awards) != 1 || c.Winner != "" {
		t.Errorf("concluded: %+v", c)
	}
	w.ignored(contractnet.WhyExpired, 1)
	bids = refuses("tired")
	c = w.negotiate("Samoa")
	var none *contractnet.NoBidsError
	if !errors.As(c.Err, &none) || len(none.Refused) != 3 || !strings.Contains(none.Error(), "infinite") && !strings.Contains(none.Error(), "+Inf") {
		t.Errorf("concluded: %v", c.Err)
	}
}

// TestBadMessages: bids and results that another client sends.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{Bids: 4 * time.Second, Work: 10 * time.Second, Remember: time.Second}, "hand", "cold", "slow")
	rejections, awards := make(chan contractnet.Rejection, 10), make(chan contractnet.Award, 10)
	calls := make(chan struct{}, 10)
	for _, name := range []string{"hand", "cold", "slow"} { // agents of somebody else
		a := agents.New(name, agents.Config{})
		agents.On(a, func(context.Context, *agents.Message[contractnet.CallForProposals]) error {
			calls <- struct{}{}
			return nil
		})
		agents.On(a, func(_ context.Context, m *agents.Message[contractnet.Award]) error {
			awards <- m.Payload
			return nil
		})
		agents.On(a, func(_ context.Context, m *agents.Message[contractnet.Rejection]) error {
			rejections <- m.Payload
			return nil
		})
		w.start(a)
	}
	as := func(name string) *agents.Sender {
		s, err := w.Sender(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	hand, cold, slow := as("hand"), as("cold"), as("slow")
	key := agents.Key("Fiji")
	w.send(hand, "boss", &contractnet.Proposal{Name: "visit", Cost: 1}, key)
	w.ignored(contractnet.WhyUnknown, 1)
	w.send(hand, "boss", &contractnet.Proposal{Name: "cook", Cost: 1}, key)
	w.ignored(contractnet.WhyUnknown, 2)
	w.send(w.sender, "boss", &site{Place: "Fiji"})
	<-calls
	w.send(w.sender, "boss", &contractnet.Proposal{Name: "visit"}, key)
	w.ignored(contractnet.WhyNotAsked, 1)
	w.send(cold, "boss", &contractnet.Proposal{Name: "visit", Cost: math.NaN()}, key)
	w.ignored(contractnet.WhyInvalid, 1)
	w.send(hand, "boss", &contractnet.Proposal{Name: "visit", Cost: 3}, key)
	w.send(hand, "boss", &contractnet.Proposal{Name: "visit", Cost: 2}, key)
	w.ignored(contractnet.WhyDuplicate, 1)
	w.send(w.sender, "boss", &contractnet.Deadline{Name: "visit", Due: true}, key)
	w.send(w.sender, "boss", &contractnet.Opening{Name: "visit"}, key)
	w.send(w.sender, "boss", &contractnet.Negotiation{Name: "visit"}, key)
	w.ignored(contractnet.WhyForeign, 3)
	w.send(cold, "boss", &contractnet.Report{Name: "visit", Round: 1, Failed: true}, key)
	w.ignored(contractnet.WhyNotAwarded, 1)
	if r := <-rejections; r.Reason != contractnet.RejectedInvalid || !strings.Contains(r.Text, "NaN") {
		t.Errorf("rejected: %+v", r)
	}
	if a := <-awards; a.Round != 1 || a.Cost != 3 {
		t.Errorf("awarded: %+v", a)
	}
	w.send(slow, "boss", &contractnet.Proposal{Name: "visit", Cost: 0}, key)
	w.ignored(contractnet.WhyLate, 1)
	if r := <-rejections; r.Reason != contractnet.RejectedLate {
		t.Errorf("rejected: %+v", r)
	}
	w.send(hand, "boss", &contractnet.Report{Name: "visit", Round: 1, Result: []byte("x")}, key)
	c := <-w.over
	var failed *contractnet.AllFailedError
	if !errors.As(c.Err, &failed) || !strings.Contains(c.Err.Error(), "hand has failed (its result cannot be read") {
		t.Errorf("concluded: %v", c.Err)
	}
	w.forgotten()
	w.send(slow, "boss", &contractnet.Proposal{Name: "visit", Cost: 0}, key)
	w.ignored(contractnet.WhyUnknown, 3)
	all, err := w.mgr.Replay(t.Context(), w.Codec(), "parley", "boss", w.inbox())
	if err != nil || len(all) != 1 || len(all[0].Awards) != 1 || all[0].Awards[0].Agent != "hand" || all[0].Negotiation.Phase != contractnet.OutcomeAllFailed {
		t.Fatalf("replayed: %+v, %v", all, err)
	}
	if got := fmt.Sprint(all[0].Ignored[0].Why, all[0].Ignored[1].Why); got != "not_asked invalid" && got != "not_askedinvalid" {
		t.Error(got)
	}
}

// forgotten waits until the manager has told itself to forget a negotiation.
func (w *world) forgotten() {
	w.t.Helper()
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(50 * time.Millisecond) { // polls a condition on the broker
		for _, rec := range w.inbox() {
			var d contractnet.Deadline
			if w.Codec().Decode(w.t.Context(), rec.Value, &d, schemas.MessageType(d.Schema())) == nil && d.Due && d.Round < 0 {
				return
			}
		}
	}
	w.t.Fatal("it is not forgotten")
}

// inbox is what stands in the manager's.
func (w *world) inbox() []streaming.Record {
	w.t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: w.cluster.Brokers})
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	const topic = "parley.inbox.boss"
	ends, err := log.EndOffsets(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, To: end})
	}
	var records []streaming.Record
	if err := log.Scan(w.t.Context(), ranges, func(rec streaming.Record) { records = append(records, rec.Clone()) }); err != nil {
		w.t.Fatal(err)
	}
	return records
}

func TestWrongDeclarations(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas})
	if err != nil {
		t.Fatal(err)
	}
	done := func(context.Context, *contractnet.Concluded[site, visit]) error { return nil }
	for want, declare := range map[string]func(*agents.Agent){
		"manages two negotiations named visit": func(a *agents.Agent) {
			contractnet.Manage(a, "visit", contractnet.Config{}, done)
			contractnet.Manage(a, "visit", contractnet.Config{}, done)
		},
		"bids twice": func(a *agents.Agent) {
			contractnet.Bid(a, "visit", costs(1), works("a"))
			contractnet.Bid(a, "visit", costs(1), works("a"))
		},
		"a time is negative": func(a *agents.Agent) { contractnet.Manage(a, "visit", contractnet.Config{Work: -1}, done) },
		"may hold a to z":    func(a *agents.Agent) { contractnet.Bid(a, "Visit", costs(1), works("a")) },
	} {
		a := agents.New("a", agents.Config{})
		declare(a)
		if _, err := p.Worker(a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// Two of different names, and both roles, go together.
	a := agents.New("a", agents.Config{})
	contractnet.Manage(a, "visit", contractnet.Config{}, done)
	contractnet.Manage(a, "repair", contractnet.Config{}, done)
	contractnet.Bid(a, "visit", costs(1), works("a"))
	contractnet.Bid(a, "repair", costs(1), works("a"))
	if _, err := p.Worker(a); err != nil {
		t.Error(err)
	}
	agents.ProducesNothing(a)
	for _, f := range contract.Check([]contract.Contract{a.Contract()}) {
		t.Error(f)
	}
}

func TestABadCallStagesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "boss")
	errs := make(chan error, 10)
	a := agents.New("caller", agents.Config{})
	mgr := contractnet.Manage(a, "visit", contractnet.Config{}, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		w.over <- c
		return nil
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[site]) error {
		for _, call := range []func() (string, error){
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, []string{"A"}) },
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, []string{"a", "a"}) },
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, nil, contractnet.ID("")) },
			func() (string, error) {
				return mgr.Call(ctx, m, m.Payload, nil, contractnet.ID(strings.Repeat("x", 513)))
			},
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, nil, contractnet.WorkFor(0)) },
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, nil, contractnet.BidsFor(-1)) },
		} {
			_, err := call()
			errs <- err
		}
		one, err := mgr.Call(ctx, m, m.Payload, nil)
		errs <- err
		two, err := mgr.Call(ctx, m, m.Payload, nil)
		if err != nil || one == two {
			t.Errorf("%s and %s, %v", one, two, err)
		}
		return nil
	})
	w.start(a)
	w.send(w.sender, "caller", &site{})
	for range 6 {
		var call *contractnet.CallError
		if err := <-errs; !errors.As(err, &call) || streaming.ReasonOf(err) != streaming.ReasonPermanent {
			t.Errorf("%v", err)
		}
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
	for range 2 { // nobody was a candidate
		var none *contractnet.NoBidsError
		if c := <-w.over; !errors.As(c.Err, &none) {
			t.Error(c.Err)
		}
	}
}

// TestTheConclusionIsAMessageOfItsOwn: done fails and is retried, and the award
// stands; it sends with the conclusion.
func TestTheConclusionIsAMessageOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "x")
	a := agents.New("caller", agents.Config{Retry: retry.Policy{Tiers: []time.Duration{10 * time.Millisecond}, Attempts: 3}})
	mgr := contractnet.Manage(a, "visit", contractnet.Config{}, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		if c.Attempt < 3 {
			return errors.New("not yet")
		}
		return c.Publish("visits", &c.Result)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[site]) error {
		_, err := mgr.Call(ctx, m, m.Payload, []string{"own"})
		return err
	})
	w.start(a)
	worked := make(chan string, 10)
	w.bidder("own", costs(1), func(_ context.Context, j *contractnet.Job[site]) (visit, error) {
		worked <- j.ID()
		return visit{By: "own"}, nil
	})
	sub := agents.New("reader", agents.Config{Streams: []string{"visits"}})
	visits := make(chan visit, 10)
	agents.On(sub, func(_ context.Context, m *agents.Message[visit]) error {
		visits <- m.Payload
		return nil
	})
	w.start(sub)
	w.send(w.sender, "caller", &site{}, agents.Expires(time.Now().Add(time.Minute)))
	select {
	case v := <-visits:
		if v.By != "own" || len(worked) != 1 {
			t.Errorf("%+v after %d awards", v, len(worked))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no visit")
	}
}
