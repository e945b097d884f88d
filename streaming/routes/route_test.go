package routes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

func to(places ...string) []schemas.RouteDestination {
	var all []schemas.RouteDestination
	for _, p := range places {
		all = append(all, schemas.RouteDestination{To: p})
	}
	return all
}

func set(t testing.TB, defs ...schemas.Route) *routes.Set {
	t.Helper()
	s, err := routes.New(schemas.RouteSet{Version: 7, Routes: defs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// message is one of a payload of the type agent.error.
func message(t testing.TB, env streaming.Envelope, payload schemas.Message) *routes.Message {
	t.Helper()
	codec := schemas.NewCodec(schemas.NewMemoryRegistry())
	value, err := codec.Encode(context.Background(), payload)
	if err != nil {
		t.Fatal(err)
	}
	env.Type = schemas.MessageType(payload.Schema())
	return &routes.Message{Envelope: &env, Open: func() (schemas.AvroSchema, []byte, error) { return codec.Open(context.Background(), value) }}
}

func decide(t testing.TB, s *routes.Set, m *routes.Message) routes.Decision {
	t.Helper()
	d, err := s.Decide(m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func goesTo(d routes.Decision) string {
	var all []string
	for _, to := range d.Destinations {
		all = append(all, to.String())
	}
	return strings.Join(all, " ")
}

func TestAMatchLooksAtAttributesAndPayload(t *testing.T) {
	t.Parallel()
	m := message(t, streaming.Envelope{
		ID: "i", Source: "s", Kind: streaming.KindRequest, Recipient: "r", CorrelationID: "c", CausationID: "b",
		ReplyTo: "parley.replies.x/1", Hops: 31, Sequence: 4, Last: true,
	}, &schemas.ErrorReply{Reason: "handler", Message: "a text"})
	for _, c := range []struct {
		match string
		want  bool
	}{
		{"", true},
		{"true", true},
		{`id == 'i' && type == 'agent.error' && source == 's' && kind == 'request' && recipient == 'r'`, true},
		{`correlationid == 'c' && causationid == 'b' && replyto == 'parley.replies.x/1' && hops == 31 && sequence == 4 && last`, true},
		{`key == 'c'`, true},
		{`source.startsWith('t')`, false},
		{`payload.reason == 'handler' && payload.message.size() == 6`, true},
		{`payload.reason == 'other'`, false},
		{`type == 'agent.error' && payload.reason in ['handler', 'panic']`, true},
		{`type(source) == string`, true},
	} {
		d := decide(t, set(t, schemas.Route{Name: "r", Match: c.match, Types: []string{"agent.error"}, Destinations: to("agent:a")}), m)
		if got := len(d.Matches) == 1; got != c.want || len(d.Failed) > 0 {
			t.Errorf("%s: %v, %v", c.match, got, d.Failed)
		}
	}
	if d := decide(t, set(t, schemas.Route{Name: "r", Types: []string{"agent.ack"}, Destinations: to("agent:a")}), m); len(d.Destinations) > 0 {
		t.Error("a route of another type matches")
	}
	m.Key = "own"
	if d := decide(t, set(t, schemas.Route{Name: "r", Match: "key == 'own'", Destinations: to("agent:a")}), m); len(d.Destinations) != 1 {
		t.Error("the key")
	}
}

func TestPrioritiesAndModes(t *testing.T) {
	t.Parallel()
	m := message(t, streaming.Envelope{ID: "i"}, &schemas.ErrorReply{})
	low := schemas.Route{Name: "low", Priority: -1, Destinations: to("stream:all")}
	high := schemas.Route{Name: "high", Priority: 5, Destinations: to("agent:a", "agent:b")}
	also := schemas.Route{Name: "also", Priority: 5, Destinations: to("agent:b", "agent:c")}
	if got := goesTo(decide(t, set(t, low, high, also), m)); got != "agent:b agent:c agent:a stream:all" {
		t.Error("in the order of priority and name, each once:", got)
	}
	high.Mode = "first"
	if got := goesTo(decide(t, set(t, low, high, also), m)); got != "agent:b agent:c agent:a" {
		t.Error("first ends it:", got)
	}
	high.Match = "source == 'nobody'"
	if got := goesTo(decide(t, set(t, low, high), m)); got != "stream:all" {
		t.Error("a first that does not match ends nothing:", got)
	}
}

func TestWeightsAreKeptAndTheChoiceIsTheSame(t *testing.T) {
	t.Parallel()
	def := schemas.Route{Name: "w", Mode: "weighted", Destinations: []schemas.RouteDestination{{To: "agent:a", Weight: 3}, {To: "agent:b"}}}
	s, other := set(t, def), set(t, schemas.Route{Name: "v", Destinations: to("agent:x"), Types: []string{"none"}}, def)
	const n = 20_000
	counts := make(map[string]int)
	for i := range n {
		m := message(t, streaming.Envelope{ID: fmt.Sprint("message-", i)}, &schemas.ErrorReply{})
		got := goesTo(decide(t, s, m))
		counts[got]++
		if again := goesTo(decide(t, other, m)); again != got {
			t.Fatalf("%s goes to %s, and in another set to %s", m.Envelope.ID, got, again)
		}
	}
	if a := float64(counts["agent:a"]) / n; a < 0.73 || a > 0.77 || len(counts) != 2 {
		t.Errorf("of 3 to 1 it is %v", counts)
	}
}

func TestADestinationThatComesMovesFewKeys(t *testing.T) {
	t.Parallel()
	def := schemas.Route{Name: "k", Mode: "key", Destinations: to("agent:a", "agent:b", "agent:c", "agent:d")}
	four, three := set(t, def), def
	three.Destinations = to("agent:d", "agent:a", "agent:b")
	without := set(t, three)
	const n = 10_000
	moved, counts := 0, make(map[string]int)
	for i := range n {
		m := message(t, streaming.Envelope{ID: fmt.Sprint(i)}, &schemas.ErrorReply{})
		m.Key = fmt.Sprint("key-", i)
		with, than := goesTo(decide(t, four, m)), goesTo(decide(t, without, m))
		counts[with]++
		if with != than {
			moved++
			if with != "agent:c" {
				t.Fatalf("key %s has moved from %s to %s, and both are still there", m.Key, with, than)
			}
		}
	}
	for d, c := range counts {
		if c < n/4*9/10 || c > n/4*11/10 {
			t.Errorf("%s has %d of %d keys", d, c, n)
		}
	}
	if moved != counts["agent:c"] {
		t.Errorf("%d keys moved, %d were those of c", moved, counts["agent:c"])
	}
}

func TestWhatCannotBeEvaluatedDoesNotMatchAndBlocksNothing(t *testing.T) {
	t.Parallel()
	behind := schemas.Route{Name: "z-behind", Destinations: to("agent:safe")}
	types := []string{"agent.error", "agent.ack"}
	m := message(t, streaming.Envelope{ID: "i", Source: strings.Repeat("a", 40)}, &schemas.ErrorReply{Message: strings.Repeat("b", 200)})
	noise := *m
	noise.Open = func() (schemas.AvroSchema, []byte, error) {
		return schemas.NewCodec(schemas.NewMemoryRegistry()).Open(context.Background(), []byte{0, 0, 0, 0, 9, 1})
	}
	for _, c := range []struct {
		why   routes.Why
		match string
		m     *routes.Message
	}{
		{routes.WhyCompile, "payload.mode == 'handled'", m}, // of agent.ack
		{routes.WhyEvaluate, "[1, 2][int(hops) + 7] == 1 && payload.reason == ''", m},
		{routes.WhyPayload, "payload.reason == ''", &noise},
	} {
		s := set(t, schemas.Route{Name: "r", Match: c.match, Types: types, Mode: "first", Destinations: to("agent:a")}, behind)
		d := decide(t, s, c.m)
		if goesTo(d) != "agent:safe" || len(d.Failed) != 1 || d.Failed[0].Why != c.why || d.Failed[0].Route != "r" {
			t.Errorf("%s: %s, %+v", c.why, goesTo(d), d.Failed)
		}
	}
	down := *m
	gone := &schemas.RegistryUnavailableError{URL: "there", Err: errors.New("down")}
	down.Open = func() (schemas.AvroSchema, []byte, error) { return nil, nil, gone }
	if _, err := set(t, schemas.Route{Name: "r", Match: "payload.reason == ''", Types: types, Destinations: to("agent:a")}, behind).Decide(&down); !errors.Is(err, gone) {
		t.Errorf("while the registry is down nothing is decided: %v", err)
	}
}

func TestASetIsRefusedWithAllThatIsWrong(t *testing.T) {
	t.Parallel()
	for want, def := range map[string]schemas.Route{
		"its name cannot be used":             {Name: "No", Destinations: to("agent:a")},
		`its mode "most" is not one of`:       {Name: "r", Mode: "most", Destinations: to("agent:a")},
		"no destination":                      {Name: "r"},
		"neither agent:NAME nor stream:NAME":  {Name: "r", Destinations: to("inbox:a")},
		`"agent:A B": the name`:               {Name: "r", Destinations: to("agent:A B")},
		"names agent:a twice":                 {Name: "r", Destinations: to("agent:a", "agent:a")},
		"a weight, which goes with":           {Name: "r", Destinations: []schemas.RouteDestination{{To: "agent:a", Weight: 2}}},
		"the weight -1":                       {Name: "r", Mode: "weighted", Destinations: []schemas.RouteDestination{{To: "agent:a", Weight: -1}}},
		"one of its types":                    {Name: "r", Types: []string{".x"}, Destinations: to("agent:a")},
		"column 9: undeclared reference":      {Name: "r", Match: "type == kid", Destinations: to("agent:a")},
		"and payload where the route names t": {Name: "r", Match: "payload.x == 1", Destinations: to("agent:a")},
		"is int instead of bool":              {Name: "r", Match: "hops", Destinations: to("agent:a")},
	} {
		_, err := routes.New(schemas.RouteSet{Routes: []schemas.Route{def}})
		var wrong *routes.RouteError
		if !errors.As(err, &wrong) || wrong.Route != def.Name || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	_, err := routes.New(schemas.RouteSet{Routes: []schemas.Route{{Name: "r", Destinations: to("agent:a")}, {Name: "r", Destinations: to("agent:b")}}})
	var double *routes.DoubleRouteError
	if !errors.As(err, &double) || double.Route != "r" {
		t.Errorf("a double name: %v", err)
	}
	var many []schemas.Route
	for i := range routes.MaxRoutes + 1 {
		many = append(many, schemas.Route{Name: fmt.Sprint(i), Destinations: to("agent:a")})
	}
	if _, err := routes.New(schemas.RouteSet{Routes: many}); err == nil || !strings.Contains(err.Error(), "more than 256") {
		t.Error(err)
	}
}

func TestASetIsCheckedAgainstTheSchemas(t *testing.T) {
	t.Parallel()
	s := set(t,
		schemas.Route{Name: "good", Match: "payload.reason == ''", Types: []string{"agent.error"}, Destinations: to("agent:a")},
		schemas.Route{Name: "attributes", Match: "source == ''", Types: []string{"agent.stop"}, Destinations: to("agent:a")},
		schemas.Route{Name: "bad", Match: "source == '' && payload.mode == ''", Types: []string{"agent.error", "agent.ack"}, Destinations: to("stream:b")},
	)
	if got := s.Types(); !slices.Equal(got, []string{"agent.ack", "agent.error"}) {
		t.Error(got)
	}
	if err := s.Check("agent.ack", schemas.Ack{}.Schema()); err != nil {
		t.Error(err)
	}
	err := s.Check("agent.error", schemas.ErrorReply{}.Schema())
	var wrong *routes.RouteError
	if !errors.As(err, &wrong) || wrong.Route != "bad" || wrong.Type != "agent.error" || !strings.Contains(err.Error(), "column 24") {
		t.Error(err)
	}
}
