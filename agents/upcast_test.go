package agents_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// upcasting is an agent that handles the third version of a name.
func upcasting(convert func(ctx context.Context, old *nameV1) (nameV2, error), handle func(*agents.Message[nameV3]) error) *agents.Agent {
	a := agents.New("greeter", agents.Config{Retry: once})
	agents.Upcast(a, convert)
	agents.Upcast(a, func(_ context.Context, old *nameV2) (nameV3, error) {
		return nameV3{Given: strings.Fields(old.First), Last: old.Last}, nil
	})
	agents.On(a, func(_ context.Context, m *agents.Message[nameV3]) error { return handle(m) })
	return a
}

func split(_ context.Context, old *nameV1) (nameV2, error) {
	i := strings.LastIndexByte(old.Name, ' ')
	if i < 0 {
		return nameV2{}, fmt.Errorf("the name %q has one part", old.Name)
	}
	return nameV2{First: old.Name[:i], Last: old.Name[i+1:]}, nil
}

func send(t *testing.T, p *agents.Platform, all ...schemas.Message) {
	t.Helper()
	sender, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for i, m := range all {
		if err := sender.Send(t.Context(), sender.ToAgent("greeter", m, agents.Key("one"), agents.ID(fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOldTypesReachTheHandlerOfTheNew(t *testing.T) {
	t.Parallel()
	p := connect(t, streamtest.NewCluster(t))
	got := make(chan string, 9)
	start(t, p, upcasting(split, func(m *agents.Message[nameV3]) error {
		got <- fmt.Sprintf("%s %s %d %s %s", m.ID(), m.Envelope.Type, len(m.Payload.Given), m.Payload.Given[0], m.Payload.Last)
		return nil
	}))
	send(t, p, &nameV1{"Inge Marie Lehmann"}, &nameV2{"Beno", "Gutenberg"}, &nameV3{[]string{"Kiyoo"}, "Wadati"}, &nameV1{"Andrija Mohorovičić"})
	for i, want := range []string{
		"0 test.name 2 Inge Lehmann", "1 test.name.v2 1 Beno Gutenberg", "2 test.name.v3 1 Kiyoo Wadati", "3 test.name 1 Andrija Mohorovičić",
	} {
		if g := receive(t, got); g != want {
			t.Errorf("message %d: %s, want %s", i, g, want)
		}
	}
}

func TestWhatCannotBeConvertedIsADeadLetter(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		err          error
		reason, text string
	}{
		"any error":   {broken, "schema", "upcast test.name to test.name.v2: broken"},
		"its reason":  {agents.DeadLetter(streaming.ReasonPolicy, broken), "policy", "broken"},
		"permanently": {agents.Permanent(broken), "permanent", "broken"},
		"a retry":     {agents.RetryAfter(time.Millisecond, broken), "handler", "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := streamtest.NewCluster(t)
			p := connect(t, cluster)
			start(t, p, upcasting(func(context.Context, *nameV1) (nameV2, error) { return nameV2{}, c.err },
				func(*agents.Message[nameV3]) error { t.Error("handled"); return nil }))
			send(t, p, &nameV1{"Plato"})
			h := onlyHeaders(t, cluster, "parley.inbox.greeter.dlq.greeter")
			if h["parley-reason"] != c.reason || h["ce_type"] != "test.name" || !strings.Contains(h["parley-error"], c.text) {
				t.Errorf("dead letter %v", h)
			}
		})
	}
}

func TestAConversionThatTakesTooLongIsATimeout(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t)
	p := connect(t, cluster)
	a := agents.New("greeter", agents.Config{Retry: once, HandlerTimeout: 50 * time.Millisecond})
	agents.On(a, func(context.Context, *agents.Message[nameV2]) error { return nil })
	agents.Upcast(a, func(ctx context.Context, _ *nameV1) (nameV2, error) {
		<-ctx.Done()
		return nameV2{}, ctx.Err()
	})
	start(t, p, a)
	send(t, p, &nameV1{"Inge Lehmann"})
	if h := onlyHeaders(t, cluster, "parley.inbox.greeter.dlq.greeter"); h["parley-reason"] != "timeout" {
		t.Errorf("dead letter %v", h)
	}
}

func TestAConversionThatIsNotTheMessagesFaultIsRepeated(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t)
	p := connect(t, cluster)
	var runs atomic.Int64
	converting := make(chan struct{})
	got := make(chan string, 1)
	agent := func() *agents.Agent {
		return upcasting(func(ctx context.Context, old *nameV1) (nameV2, error) {
			switch runs.Add(1) {
			case 1:
				return nameV2{}, agents.Unavailable(errors.New("the directory is down"))
			case 2: // until the worker is stopped
				close(converting)
				<-ctx.Done()
				return nameV2{}, ctx.Err()
			}
			return split(ctx, old)
		}, func(m *agents.Message[nameV3]) error {
			got <- m.Payload.Last
			return nil
		})
	}
	stop := start(t, p, agent())
	send(t, p, &nameV1{"Inge Lehmann"})
	receive(t, converting)
	stop()
	start(t, p, agent())
	if last := receive(t, got); last != "Lehmann" {
		t.Errorf("handled %q", last)
	}
	if dead := cluster.ReadAll(t, "parley.inbox.greeter.dlq.greeter"); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
}
