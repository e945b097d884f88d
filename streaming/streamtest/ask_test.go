//go:build synctests

package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// Agents that keep state are not simulated with what lets a frozen worker and its
// successor work side by side at least once, nor with redrive.
func faultsForState(exactlyOnce bool) []streamtest.Fault {
	if exactlyOnce {
		return slices.DeleteFunc(streamtest.Faults(), func(f streamtest.Fault) bool { return f == streamtest.FaultRedrive })
	}
	return []streamtest.Fault{
		streamtest.FaultError, streamtest.FaultTimeout, streamtest.FaultCut, streamtest.FaultSlow, streamtest.FaultLeaders,
		streamtest.FaultCoords, streamtest.FaultJoin, streamtest.FaultLeave, streamtest.FaultDuplicate, streamtest.FaultMalformed,
	}
}

var shortRetries = retry.Policy{Tiers: []time.Duration{time.Second, 5 * time.Second}, Attempts: 4}

// underFaults runs a test for each of the seeds.
func underFaults(t *testing.T, name string, test func(t *testing.T, seed uint64)) {
	t.Helper()
	first, n := *firstSeed, min(*seeds, 200)
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run %s -seeds %d -seed %d", first, name, n, first)
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			test(t, seed)
		})
	}
}

// team makes simulated agents, and reads what they have written.
type team struct {
	exactlyOnce bool
	codec       *schemas.Codec
}

// member is an agent made by a function.
func (y *team) member(name string, define func(a *agents.Agent)) streamtest.Simulated {
	return streamtest.Simulated{Config: func(c *streamtest.Cluster) (worker.Config, error) {
		p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer})
		if err != nil {
			return worker.Config{}, err
		}
		a := agents.New(name, agents.Config{ExactlyOnce: y.exactlyOnce, Retry: shortRetries})
		define(a)
		cfg, err := p.WorkerConfig(a)
		if y.codec == nil { // the simulation's own, before any process is started
			y.codec = cfg.Codec
		}
		return cfg, err
	}}
}

// asker asks two agents about each message and tells in a stream, once, what became
// of it.
func asker(a *agents.Agent) {
	q := agents.OnAnswer(a, "ask", func(_ context.Context, m *agents.Answered[schemas.Ack, schemas.ErrorReply]) error {
		if m.Payload.Reason == "again" && m.Attempt == 1 {
			return errors.New("the first attempt fails")
		}
		var said []string
		for _, answer := range m.Answers {
			switch {
			case answer.Err != nil:
				said = append(said, answer.Agent+" "+answer.Err.Error())
			case answer.Reply.Mode != m.Payload.Message:
				said = append(said, fmt.Sprintf("%s has answered %s", answer.Agent, answer.Reply.Mode))
			default:
				said = append(said, answer.Agent+" well")
			}
		}
		slices.Sort(said)
		return m.Publish("results", &schemas.ErrorReply{Reason: m.ID(), Message: strings.Join(said, " | ")}, agents.Key(m.Key))
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if m.Envelope.Kind == streaming.KindError {
			return nil // of a request whose time was over
		}
		return q.AskAll(ctx, m, []string{"one", "two"}, 2, schemas.ErrorReply{Reason: "q", Message: m.Payload.Message}, m.Payload,
			agents.Expires(time.Now().Add(askWithin(m.Payload.Message))))
	})
}

// answers answers what it is asked, but says nothing to what a silent one is asked.
func answers(silent bool) func(a *agents.Agent) {
	return func(a *agents.Agent) {
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			if silent && strings.HasSuffix(m.Payload.Message, "7") {
				return nil
			}
			return m.Reply(&schemas.Ack{Mode: m.Payload.Message})
		})
	}
}

// TestAskUnderFaults: who asks in a handler goes on exactly once, with the answers
// or without them.
func TestAskUnderFaults(t *testing.T) {
	var asked, well atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d asked, %d of them with both answers", asked.Load(), well.Load())
		if well.Load() == 0 || well.Load() == asked.Load() {
			t.Error("too few")
		}
	})
	underFaults(t, "AskUnderFaults", func(t *testing.T, seed uint64) {
		y := &team{exactlyOnce: seed%2 == 1}
		var wrong []string
		o := streamtest.Simulate(t, seed, streamtest.Simulation{
			Agents: []streamtest.Simulated{y.member("asker", asker), y.member("one", answers(false)), y.member("two", answers(true))},
			Topics: []string{"parley.events.results"}, Messages: 60, Length: 30 * time.Second,
			Faults: faultsForState(y.exactlyOnce), TraceDir: *traces, KeepTrace: *keep,
			Message: func(r *rand.Rand, i int) streamtest.Message {
				m := schemas.ErrorReply{Message: fmt.Sprint(i)}
				if r.IntN(10) == 0 {
					m.Reason = "again"
				}
				return streamtest.Message{Key: fmt.Sprint(r.IntN(8)), Payload: &m}
			},
			Check: func(topics map[string][]streaming.Record) []string {
				n, good, bad := y.checkAsks(topics)
				asked.Add(n)
				well.Add(good)
				wrong = bad
				return nil
			},
		})
		if !y.exactlyOnce && o.Hits[weakened] > 0 {
			return // two owners may have been at work side by side
		}
		for _, w := range wrong {
			t.Errorf("seed %d: %s\n%s", seed, w, o.Plan)
		}
	})
}

// checkAsks holds the results against the messages, by ID and key: a message
// may have come under two.
func (y *team) checkAsks(topics map[string][]streaming.Record) (asked, well int64, wrong []string) {
	type message struct{ id, key string }
	results := make(map[message]map[string]bool) // by ID
	for _, rec := range topics["parley.events.results"] {
		env, err := schemas.DecodeEnvelope(&rec)
		var e schemas.ErrorReply
		if err == nil {
			err = y.codec.Decode(context.Background(), rec.Value, &e, "")
		}
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		at := message{e.Reason, string(rec.Key)}
		if results[at] == nil {
			results[at] = make(map[string]bool)
		}
		results[at][env.ID] = true
		switch said := strings.Split(e.Message, " | "); {
		case len(said) != 2 || !strings.HasPrefix(said[0], "one ") || !strings.HasPrefix(said[1], "two ") || strings.Contains(e.Message, "has answered"):
			wrong = append(wrong, fmt.Sprintf("message %s: %s", e.Reason, e.Message))
		case e.Message == "one well | two well":
			well++
		}
	}
	dead := make(map[string]bool) // conversations of which a part is dead at the asker
	for _, rec := range topics["parley.inbox.asker.dlq.asker"] {
		if env, err := schemas.DecodeEnvelope(&rec); err == nil {
			dead[env.CorrelationID] = true
		}
	}
	twins := twins(topics["parley.inbox.asker"])
	for _, rec := range topics["parley.inbox.asker"] {
		env, err := schemas.DecodeEnvelope(&rec)
		var e schemas.ErrorReply
		if err != nil || env.Source != "source" || y.codec.Decode(context.Background(), rec.Value, &e, "") != nil {
			continue
		}
		if twins[env.ID] {
			continue
		}
		at := message{env.ID, string(rec.Key)}
		n := len(results[at])
		if n > 1 || n == 0 && !dead[env.CorrelationID] {
			wrong = append(wrong, fmt.Sprintf("message %v has %d results", at, n))
		}
		if n == 1 {
			asked++
		}
	}
	return asked, well, wrong
}

// twins are the messages that came under two keys: what they cause may be known again
// under one of them.
func twins(inbox []streaming.Record) map[string]bool {
	keys, twins := make(map[string]string), make(map[string]bool)
	for i := range inbox {
		env, err := schemas.DecodeEnvelope(&inbox[i])
		if err != nil {
			continue
		}
		if key, known := keys[env.ID]; known && key != string(inbox[i].Key) {
			twins[env.ID] = true
		}
		keys[env.ID] = string(inbox[i].Key)
	}
	return twins
}

// askWithin is how long who asks waits: some deadlines come amid the answers.
func askWithin(message string) time.Duration {
	switch message[len(message)-1] {
	case '3', '5':
		return 400 * time.Millisecond
	case '1':
		return 3 * time.Second
	}
	return 25 * time.Second
}
