package agents_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// staffed is a platform on a broker of its own, with agents that run on it.
type staffed struct {
	*agents.Platform
	*streamtest.Cluster
	registry *prometheus.Registry
	sender   *agents.Sender
}

func newStaffed(t *testing.T) *staffed {
	t.Helper()
	c := streamtest.NewCluster(t)
	reg := prometheus.NewRegistry()
	metrics, err := telemetry.New(reg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 3, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Sender("tester")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &staffed{p, c, reg, s}
}

var soon = retry.Policy{Tiers: []time.Duration{20 * time.Millisecond}, Attempts: 2}

// start runs an agent until stop is called, or the test ends.
func (s *staffed) start(t *testing.T, a *agents.Agent) (w *worker.Worker, stop func()) {
	t.Helper()
	w, err := s.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
	return w, stop
}

// records is what stands in a topic, which may not exist yet.
func (s *staffed) records(t *testing.T, topic string) []streaming.Record {
	t.Helper()
	var recs []streaming.Record
	for _, r := range s.ReadAll(t, topic) {
		rec := streaming.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, streaming.Header{Key: h.Key, Value: h.Value})
		}
		recs = append(recs, rec)
	}
	return recs
}

// dead waits for the agent's dead letters.
func (s *staffed) dead(t *testing.T, agent string, n int) []streaming.Record {
	t.Helper()
	topic := streaming.DeadLetterTopic("parley.inbox."+agent, agent)
	s.await(t, fmt.Sprintf("%d dead letters of %s", n, agent), func() bool { return len(s.records(t, topic)) >= n })
	return s.records(t, topic)
}

func (s *staffed) await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// counted is the sum of a counter's series that have all these labels (name=value).
func (s *staffed) counted(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetName()+"="+l.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(have, l) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestBudgetText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"tokens=1000": "tokens=1000", "cents=12.50": "cents=12.5", "usd=0": "usd=0", "t=1e6": "t=1000000", "t=1e-9": "t=1e-09", "t=1e300": "t=1e+300",
		"": "!", "tokens": "!", "=5": "!", "t=": "!", "t=-1": "!", "t=NaN": "!", "t=Inf": "!", "t=1e999": "!", "a=b=1": "!",
	} {
		b, err := streaming.ParseBudget(text)
		if got := b.String(); (want == "!") != (err != nil) || err == nil && got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, c := range []struct{ inherited, wish, want string }{
		{"", "", ""}, {"", "t=1", "t=1"}, {"", "=", ""}, {"t=1", "", "t=1"}, {"t=2", "t=1", "t=1"}, {"t=1", "t=2", "t=1"}, {"t=1", "u=0", "t=1"}, {"t=1", "=", "t=1"},
	} {
		if got := streaming.LowerBudget(c.inherited, c.wish); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestChargesAddUp(t *testing.T) {
	t.Parallel()
	var a streaming.Allowance
	a.Give("cents=0.3")
	for range 3 {
		if err := a.Charge(0.1); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.Rest(); got != "cents=0" {
		t.Errorf("left is %s", got)
	}
	var over *streaming.BudgetError
	if err := a.Charge(0.001); !errors.As(err, &over) || over.Unit != "cents" || over.Left != 0 || streaming.ReasonOf(err) != streaming.ReasonPolicy {
		t.Errorf("charged beyond the budget: %v", err)
	}
	if err := a.Charge(0); err != nil {
		t.Errorf("nothing is charged: %v", err)
	}
	for _, amount := range []float64{-1, math.NaN(), math.Inf(1)} {
		if err := a.Charge(amount); streaming.ReasonOf(err) != streaming.ReasonPermanent {
			t.Errorf("%v is charged: %v", amount, err)
		}
	}
	var none *streaming.Allowance
	if _, ok := none.Left(); ok || none.Charge(5) != nil {
		t.Error("there is a budget where none is")
	}
	var same streaming.Allowance
	same.Give("cents=012.50")
	if got := same.Rest(); got != "cents=012.50" {
		t.Errorf("a budget that nobody has charged is %s", got)
	}
}

func TestBudgetFlowsDown(t *testing.T) {
	s := newStaffed(t)
	first := agents.New("first", agents.Config{Retry: soon})
	agents.On(first, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		control := func(why string) *schemas.AgentControl { return &schemas.AgentControl{Reason: why} }
		for _, o := range []struct {
			why string
			opt agents.Option
		}{
			{"all", agents.Key("k")},
			{"share", agents.Budget("tokens", 10)},
			{"raised", agents.Budget("tokens", 1000)},
			{"other", agents.Budget("cents", 1)},
			{"hops", func(o *streaming.Outgoing) { o.Envelope.Hops = 99 }},
			{"expiry", agents.Expires(time.Now().Add(time.Hour))},
		} {
			if err := m.Send("second", control(o.why), o.opt); err != nil {
				return err
			}
		}
		return m.Charge(40.5) // after what inherits it was staged
	})
	type arrived struct {
		budget string
		hops   int
		expiry time.Time
	}
	got := make(chan map[string]arrived, 1)
	var mu sync.Mutex
	all := make(map[string]arrived)
	second := agents.New("second", agents.Config{})
	agents.On(second, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error {
		unit, left, _ := m.Budget()
		mu.Lock()
		defer mu.Unlock()
		all[m.Payload.Reason] = arrived{fmt.Sprint(unit, " ", left), m.Envelope.Hops, m.Envelope.Expiry}
		if len(all) == 6 {
			got <- all
		}
		return nil
	})
	s.start(t, first)
	s.start(t, second)
	expiry := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("first", &schemas.ErrorReply{}, agents.Budget("tokens", 100), agents.Expires(expiry), agents.Key("k"))); err != nil {
		t.Fatal(err)
	}
	select {
	case all = <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("they do not come")
	}
	for why, want := range map[string]string{"all": "tokens 59.5", "share": "tokens 10", "raised": "tokens 59.5", "other": "tokens 59.5", "hops": "tokens 59.5", "expiry": "tokens 59.5"} {
		if a := all[why]; a.budget != want || a.hops != streaming.DefaultHops-1 || !a.expiry.Equal(expiry) {
			t.Errorf("%s: %+v, want %s, %d hops, %s", why, a, want, streaming.DefaultHops-1, expiry)
		}
	}
}

func TestOverTheBudgetIsADeadLetter(t *testing.T) {
	s := newStaffed(t)
	spender := agents.New("spender", agents.Config{Retry: soon})
	agents.On(spender, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if err := m.Send("spender", &schemas.AgentControl{}); err != nil {
			return err
		}
		if err := m.Charge(5); err != nil {
			return fmt.Errorf("the model's bill: %w", err)
		}
		return errors.New("and then it fails") // what it has charged is charged by the next run
	})
	agents.On(spender, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
		return m.Send("spender", &schemas.AgentControl{}, agents.Budget("", 1))
	})
	s.start(t, spender)
	send := func(payload schemas.Message, opts ...agents.Option) {
		t.Helper()
		if err := s.sender.Send(t.Context(), s.sender.ToAgent("spender", payload, append(opts, agents.Key("k"))...)); err != nil {
			t.Fatal(err)
		}
	}
	send(&schemas.ErrorReply{}, agents.Budget("tokens", 4))
	send(&schemas.ErrorReply{}, agents.Budget("gold", 0))
	send(&schemas.ErrorReply{}, agents.Budget("tokens", 6)) // its second run has the whole budget again
	send(&schemas.ErrorReply{})
	send(&schemas.Ack{})
	send(&schemas.ErrorReply{}, agents.Expires(time.Now().Add(-time.Second)))
	raw := func(change func(*streaming.Envelope)) { // as another client may write it
		t.Helper()
		recs, err := s.sender.Records(t.Context(), s.sender.ToAgent("spender", &schemas.ErrorReply{}, agents.Key("k")))
		if err != nil {
			t.Fatal(err)
		}
		env, err := schemas.DecodeEnvelope(recs[0])
		if err != nil {
			t.Fatal(err)
		}
		change(&env)
		recs[0].Headers = schemas.AppendEnvelope(nil, &env)
		if err := errors.Join(s.sender.Forward(t.Context(), recs...)...); err != nil {
			t.Fatal(err)
		}
	}
	raw(func(env *streaming.Envelope) { env.Budget = "tokens=plenty" })
	raw(func(env *streaming.Envelope) { env.Hops = -1 })
	reasons := make(map[streaming.Reason]int)
	for _, rec := range s.dead(t, "spender", 8) {
		_, hop, _, err := schemas.SplitHop(rec.Headers)
		if err != nil {
			t.Fatal(err)
		}
		reasons[hop.Reason]++
	}
	if want := fmt.Sprint(map[streaming.Reason]int{
		streaming.ReasonPolicy: 2, streaming.ReasonHandler: 2, streaming.ReasonContract: 2, streaming.ReasonHops: 1, streaming.ReasonExpired: 1,
	}); fmt.Sprint(reasons) != want {
		t.Errorf("dead letters for %v, want %s", reasons, want)
	}
	if n := s.counted(t, "parley_budget_exhausted_total", "agent=spender", "unit=tokens"); n != 1 {
		t.Errorf("%v runs were over a budget of tokens", n)
	}
	if n := s.counted(t, "parley_budget_exhausted_total", "agent=spender", "unit=other"); n != 1 {
		t.Errorf("%v runs were over a budget of gold", n)
	}
	// What a Sender is given is checked before it is sent.
	var bad *schemas.ContractError
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("spender", &schemas.ErrorReply{}, agents.Budget("tokens", -1))); !errors.As(err, &bad) {
		t.Errorf("a budget below zero was sent: %v", err)
	}
}

// Messages that go round in a circle end when their hops are spent.
func TestHopsAreSpent(t *testing.T) {
	s := newStaffed(t)
	circle := agents.New("circle", agents.Config{Retry: soon})
	agents.On(circle, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		return m.Send("circle", &m.Payload)
	})
	s.start(t, circle)
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("circle", &schemas.ErrorReply{})); err != nil {
		t.Fatal(err)
	}
	rec := s.dead(t, "circle", 1)[0]
	_, hop, _, _ := schemas.SplitHop(rec.Headers)
	if n := len(s.records(t, "parley.inbox.circle")); hop.Reason != streaming.ReasonHops || n != streaming.DefaultHops+1 {
		t.Errorf("%s after %d messages", hop.Reason, n)
	}
}
