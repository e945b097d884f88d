package agents_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// routing is a platform with a sender that applies routes.
type routing struct {
	*agents.Platform
	c       *streamtest.Cluster
	s       *agents.Sender
	metrics *telemetry.Metrics
}

func newRouting(t *testing.T) *routing {
	t.Helper()
	r := &routing{c: streamtest.NewCluster(t)}
	var err error
	if r.metrics, err = telemetry.New(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	r.Platform, err = agents.Connect(t.Context(), agents.PlatformConfig{Brokers: r.c.Brokers, Schemas: r.c.Schemas, Partitions: 3, Metrics: r.metrics})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Schemas.ID(t.Context(), schemas.ErrorReply{}.Schema()); err != nil {
		t.Fatal(err)
	}
	r.s = r.sender(t, "operator")
	return r
}

func (r *routing) sender(t *testing.T, name string) *agents.Sender {
	t.Helper()
	s, err := r.Sender(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run starts an agent, or an instance more of it.
func (r *routing) run(t *testing.T, a *agents.Agent) {
	t.Helper()
	w, err := r.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
}

// hears starts an agent that only notes what it gets: its name and the reason.
func (r *routing) hears(t *testing.T, heard chan<- string, names ...string) {
	t.Helper()
	for _, name := range names {
		a := agents.New(name, agents.Config{})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			heard <- name + " " + m.Payload.Reason
			return nil
		})
		r.run(t, a)
	}
}

// routes starts an agent that routes what it gets.
func (r *routing) routes(t *testing.T, name string, cfg agents.Config) *agents.Agent {
	t.Helper()
	cfg.Retry = retry.Policy{Tiers: []time.Duration{20 * time.Millisecond}, Attempts: 2}
	a := agents.New(name, cfg)
	agents.Routes(a)
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		return m.Route(&m.Payload, agents.Key(m.Key))
	})
	r.run(t, a)
	return a
}

func (r *routing) apply(t *testing.T, defs ...schemas.Route) int64 {
	t.Helper()
	version, err := r.s.ApplyRoutes(t.Context(), defs, "tester", "a test")
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func (r *routing) send(t *testing.T, agent, reason string, opts ...agents.Option) {
	t.Helper()
	if err := r.s.Send(t.Context(), r.s.ToAgent(agent, schemas.ErrorReply{Reason: reason}, opts...)); err != nil {
		t.Fatal(err)
	}
}

func route(name, match string, to ...string) schemas.Route {
	def := schemas.Route{Name: name, Match: match, Types: []string{"agent.error"}}
	for _, d := range to {
		def.Destinations = append(def.Destinations, schemas.RouteDestination{To: d})
	}
	return def
}

// hear waits for what agents hear, in any order.
func hear(t *testing.T, heard <-chan string, want ...string) {
	t.Helper()
	var got []string
	for range want {
		select {
		case h := <-heard:
			got = append(got, h)
		case <-time.After(10 * time.Second):
			t.Fatalf("heard %v, not %v", got, want)
		}
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Fatalf("heard %v, not %v", got, want)
	}
}

// dead waits for a dead letter of an agent's inbox and returns its reason and error.
func (r *routing) dead(t *testing.T, agent string) (reason, text string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		for _, rec := range r.c.ReadAll(t, "parley.inbox."+agent+".dlq."+agent) {
			for _, h := range rec.Headers {
				switch h.Key {
				case "parley-reason":
					reason = string(h.Value)
				case "parley-error":
					text = string(h.Value)
				}
			}
			return reason, text
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no dead letter", agent)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRoutesAreDataAndAChangeIsLive(t *testing.T) {
	r := newRouting(t)
	heard := make(chan string, 10)
	r.hears(t, heard, "a", "b", "c")
	r.apply(t, route("small", "payload.reason.size() < 5", "agent:a", "agent:b"), route("large", "payload.reason.size() >= 5", "agent:c"))
	r.routes(t, "sorter", agents.Config{})
	r.send(t, "sorter", "one")
	r.send(t, "sorter", "longer")
	hear(t, heard, "a one", "b one", "c longer")
	if err := r.s.Route(t.Context(), schemas.ErrorReply{Reason: "two"}); err != nil {
		t.Fatal(err)
	}
	hear(t, heard, "a two", "b two")

	if v := r.apply(t, route("all", "source == 'sorter'", "agent:c")); v != 2 {
		t.Errorf("version %d", v)
	}
	start := time.Now()
	for {
		r.send(t, "sorter", "x")
		if h := <-heard; h == "c x" {
			break
		}
		<-heard
		if time.Since(start) > time.Second {
			t.Fatal("a change is not live within a second")
		}
	}
	if v, err := r.s.RollbackRoutes(t.Context(), 1, "tester", "back"); err != nil || v != 3 {
		t.Fatal(v, err)
	}
	history, err := r.s.RouteHistory(t.Context())
	if err != nil || len(history) != 3 || history[0].Set.Reason != "back" || len(history[0].Set.Routes) != 2 || history[2].Version != 1 {
		t.Errorf("%+v, %v", history, err)
	}
	if _, err := r.s.RollbackRoutes(t.Context(), 9, "", ""); err == nil || !strings.Contains(err.Error(), "no version 9") {
		t.Error(err)
	}
}

func TestASetThatIsRefusedChangesNothing(t *testing.T) {
	r := newRouting(t)
	heard := make(chan string, 10)
	r.hears(t, heard, "a")
	r.apply(t, route("r", "", "agent:a"))
	unknownType := route("r", "payload.x == 1", "agent:a")
	unknownType.Types = []string{"no.such"}
	for what, c := range map[string]struct {
		defs []schemas.Route
		is   func(error) bool
	}{
		"a match": {[]schemas.Route{route("r", "payload.reson == ''", "agent:a")}, func(err error) bool {
			var e *routes.RouteError
			return errors.As(err, &e) && e.Route == "r" && strings.Contains(err.Error(), "column 8") && strings.Contains(err.Error(), "correct the match")
		}},
		"a double name": {[]schemas.Route{route("r", "", "agent:a"), route("r", "", "agent:a")}, func(err error) bool {
			var e *routes.DoubleRouteError
			return errors.As(err, &e)
		}},
		"an agent": {[]schemas.Route{route("r", "", "agent:nobody")}, func(err error) bool {
			var e *agents.UnknownAgentError
			return errors.As(err, &e) && e.Agent == "nobody" && e.Route == "r"
		}},
		"a stream": {[]schemas.Route{route("r", "", "stream:nowhere")}, func(err error) bool {
			var e *agents.UnknownStreamError
			return errors.As(err, &e) && e.Stream == "nowhere"
		}},
		"a type": {[]schemas.Route{unknownType}, func(err error) bool { return strings.Contains(err.Error(), "no schema names that type") }},
	} {
		if _, err := r.s.ApplyRoutes(t.Context(), c.defs, "", ""); err == nil || !c.is(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if history, err := r.s.RouteHistory(t.Context()); err != nil || len(history) != 1 {
		t.Errorf("%+v, %v", history, err)
	}
}

func TestOfTwoThatApplyAtOnceOneIsTold(t *testing.T) {
	r := newRouting(t)
	r.hears(t, make(chan string, 1), "a")
	const appliers = 3
	senders := make([]*agents.Sender, appliers)
	for i := range senders {
		senders[i] = r.sender(t, fmt.Sprint("applier-", i))
	}
	var mu sync.Mutex
	var won []int64
	lost, rounds := 0, 0
	for ; rounds < 8 || lost == 0 && rounds < 500; rounds++ {
		var all sync.WaitGroup
		for i, s := range senders {
			all.Go(func() {
				v, err := s.ApplyRoutes(t.Context(), []schemas.Route{route("r", "", "agent:a")}, fmt.Sprint(i), "")
				var conflict *agents.RouteConflictError
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, v)
				case errors.As(err, &conflict) && conflict.By != "" && conflict.By != fmt.Sprint(i):
					lost++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	slices.Sort(won)
	for i, v := range won {
		if v != int64(i)+1 {
			t.Fatalf("the versions are %v", won)
		}
	}
	if len(won)+lost != appliers*rounds || lost == 0 {
		t.Errorf("%d were applied and %d lost", len(won), lost)
	}
	// Only the latest are kept.
	var last int64
	for range routes.Kept + 2 {
		last = r.apply(t, route("r", "", "agent:a"))
	}
	history, err := r.sender(t, "fresh").RouteHistory(t.Context())
	if err != nil || last != int64(len(won)+routes.Kept+2) || history[0].Version != last || len(history) != routes.Kept {
		t.Errorf("%d versions are kept, the last is %d; %v", len(history), last, err)
	}
}

func TestWhatHasNoRouteIsDead(t *testing.T) {
	r := newRouting(t)
	r.routes(t, "sorter", agents.Config{})
	var none *agents.NoRouteError
	if err := r.s.Route(t.Context(), schemas.ErrorReply{}); !errors.As(err, &none) || none.Version != 0 {
		t.Errorf("without routes: %v", err)
	}
	r.send(t, "sorter", "x")
	if reason, text := r.dead(t, "sorter"); reason != "no_route" || !strings.Contains(text, "parley routes apply") {
		t.Error(reason, text)
	}
	r.hears(t, make(chan string, 1), "a")
	r.apply(t, route("r", "payload.reason == 'other'", "agent:a"))
	err := r.s.Route(t.Context(), schemas.ErrorReply{})
	for start := time.Now(); errors.As(err, &none) && none.Version == 0 && time.Since(start) < time.Second; {
		err = r.s.Route(t.Context(), schemas.ErrorReply{})
	}
	if !errors.As(err, &none) || none.Version != 1 || streaming.ReasonOf(err) != streaming.ReasonNoRoute {
		t.Errorf("no match: %v", err)
	}
}

func TestAnAgentThatIsGoneEndsTheMessageAndHoldsNothingUp(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprint(exactlyOnce), func(t *testing.T) {
			r := newRouting(t)
			heard := make(chan string, 10)
			r.hears(t, heard, "a")
			if _, err := kadm.NewClient(r.c.Client(t)).CreateTopics(t.Context(), 1, 1, nil, "parley.inbox.gone"); err != nil {
				t.Fatal(err)
			}
			r.apply(t, route("gone", "payload.reason == 'gone'", "agent:gone", "agent:a"), route("here", "payload.reason != 'gone'", "agent:a"))
			r.routes(t, "sorter", agents.Config{ExactlyOnce: exactlyOnce})
			if _, err := kadm.NewClient(r.c.Client(t)).DeleteTopics(t.Context(), "parley.inbox.gone"); err != nil {
				t.Fatal(err)
			}
			r.send(t, "sorter", "gone", agents.Key("k"))
			r.send(t, "sorter", "here", agents.Key("k"))
			if !exactlyOnce { // what could be sent was, before the other was refused
				hear(t, heard, "a gone")
			}
			hear(t, heard, "a here")
			if reason, text := r.dead(t, "sorter"); reason != "no_route" || !strings.Contains(text, "parley.inbox.gone, which does not exist") {
				t.Error(reason, text)
			}
			var gone *agents.UnknownAgentError
			if err := r.s.Route(t.Context(), schemas.ErrorReply{Reason: "gone"}); !errors.As(err, &gone) || gone.Agent != "gone" {
				t.Errorf("a sender: %v", err)
			}
		})
	}
}

func TestARouteThatDoesNotFitIsCounted(t *testing.T) {
	r := newRouting(t)
	heard := make(chan string, 10)
	r.hears(t, heard, "a")
	both := route("r", "payload.mode == 'x'", "agent:a")
	both.Types = []string{"agent.ack", "agent.error"}
	// As if it had been applied when agent.error had a mode.
	r.force(t, 1, schemas.RouteSet{Routes: []schemas.Route{both, route("z", "", "agent:a")}})
	r.routes(t, "sorter", agents.Config{})
	r.send(t, "sorter", "x")
	hear(t, heard, "a x")
	if n := testutil.ToFloat64(r.metrics.Routes("sorter").Counter("r", "compile")); n != 1 {
		t.Errorf("counted %v times", n)
	}
	// A set that cannot be read leaves the one before in force, and the next may follow.
	cl := r.c.Client(t)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "parley.routes", Key: []byte("2/x"), Value: []byte("noise")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r.send(t, "sorter", "y")
	hear(t, heard, "a y")
	if v := r.apply(t, route("n", "", "agent:a")); v != 3 {
		t.Errorf("version %d", v)
	}
	if n := testutil.ToFloat64(r.metrics.Routes("sorter").Counter("", "set")); n != 1 {
		t.Errorf("a set is counted %v times", n)
	}
}

// force writes a set without a check.
func (r *routing) force(t *testing.T, version int64, set schemas.RouteSet) {
	t.Helper()
	if _, err := r.s.RouteHistory(t.Context()); err != nil { // makes sure of the topic
		t.Fatal(err)
	}
	value, err := schemas.NewCodec(r.c.Schemas).Encode(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: "parley.routes", Key: []byte(schemas.RouteSetKey(version, "x")), Value: value}
	if err := r.c.Client(t).ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestALoopEndsByItsHops(t *testing.T) {
	r := newRouting(t)
	r.routes(t, "ping", agents.Config{})
	r.routes(t, "pong", agents.Config{})
	r.apply(t, route("to-pong", "source == 'ping'", "agent:pong"), route("to-ping", "source == 'pong'", "agent:ping"))
	for start := time.Now(); ; {
		err := r.s.Route(t.Context(), schemas.ErrorReply{})
		if none := new(agents.NoRouteError); errors.As(err, &none) && none.Version == 1 || time.Since(start) > time.Second {
			break // the set is live
		}
	}
	time.Sleep(200 * time.Millisecond) // at the agents, too
	r.send(t, "ping", "x")
	// 32 hops: the last is at pong's, or ping's, with none left.
	if reason, _ := r.dead(t, "ping"); reason != "hops" {
		t.Error(reason)
	}
	if n := len(r.c.ReadAll(t, "parley.inbox.ping", "parley.inbox.pong")); n != streaming.DefaultHops+1 {
		t.Errorf("%d messages", n)
	}
}

func TestAnAgentThatDoesNotDeclareItCannotRoute(t *testing.T) {
	r := newRouting(t)
	a := agents.New("plain", agents.Config{Retry: retry.Policy{Tiers: []time.Duration{20 * time.Millisecond}, Attempts: 1}})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error { return m.Route(&m.Payload) })
	r.run(t, a)
	r.send(t, "plain", "x")
	if reason, text := r.dead(t, "plain"); reason != "handler" || !strings.Contains(text, "agents.Routes(a)") {
		t.Error(reason, text)
	}
}

// TestRoutesChangeUnderLoad is the small form of the one in integration: three
// instances, and senders that route by themselves, while the routes change from one
// pair of streams to the other and back.
func TestRoutesChangeUnderLoad(t *testing.T) {
	r := newRouting(t)
	pairs := [][]string{{"a", "b"}, {"c", "d"}}
	var topics []string
	for _, stream := range slices.Concat(pairs...) {
		topics = append(topics, "parley.events."+stream)
	}
	if _, err := kadm.NewClient(r.c.Client(t)).CreateTopics(t.Context(), 2, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	apply := func(n int) {
		t.Helper()
		p := pairs[n%2]
		r.apply(t, route("one", "payload.reason == 'load'", "stream:"+p[0]), route("two", "source != ''", "stream:"+p[1]))
	}
	apply(0)
	for range 3 {
		r.routes(t, "sorter", agents.Config{})
	}
	const each = 600
	var loading sync.WaitGroup
	for i := range 3 {
		s := r.sender(t, fmt.Sprint("sender-", i))
		loading.Go(func() {
			for n := range each {
				id := agents.ID(fmt.Sprintf("%d-%d", i, n))
				var err error
				if n%10 == 0 { // by itself
					err = s.Route(t.Context(), schemas.ErrorReply{Reason: "load"}, id)
				} else {
					err = s.Send(t.Context(), s.ToAgent("sorter", schemas.ErrorReply{Reason: "load"}, id, agents.Key(fmt.Sprint(n%50))))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	loaded := make(chan struct{})
	go func() { loading.Wait(); close(loaded) }()
	changes := 0
	for changing := true; changing; {
		select {
		case <-loaded:
			changing = false
		case <-time.After(50 * time.Millisecond):
			changes++
			apply(changes)
		}
	}
	at := make(map[string][]string)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		clear(at)
		n := 0
		for _, rec := range r.c.ReadAll(t, topics...) {
			n++
			h := headers(rec)
			id := h["ce_id"]
			if h["ce_source"] == "sorter" {
				id = h["ce_causationid"]
			}
			at[id] = append(at[id], rec.Topic)
		}
		if n >= 2*3*each || time.Now().After(deadline) {
			break
		}
	}
	by := make(map[string]int)
	for id, places := range at {
		slices.Sort(places)
		if !slices.Equal(places, topics[:2]) && !slices.Equal(places, topics[2:]) {
			t.Errorf("%s is in %v", id, places)
		}
		by[places[0]]++
	}
	t.Logf("%d changes; %v", changes, by)
	if len(at) != 3*each || len(by) != 2 || changes < 3 {
		t.Errorf("%d of %d messages, %d changes, %v", len(at), 3*each, changes, by)
	}
}
