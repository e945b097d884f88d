package agents_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// once is a policy without retries.
var once = retry.Policy{Attempts: 1}

func connect(t *testing.T, c *streamtest.Cluster) *agents.Platform {
	t.Helper()
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: c.Brokers, Schemas: c.Schemas, Partitions: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs an agent until the test ends or the returned stop is called.
func start(t *testing.T, p *agents.Platform, a *agents.Agent) (stop func()) {
	t.Helper()
	w, err := p.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-ended:
		t.Fatalf("agent ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("agent is not ready")
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begin := time.Now(); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// receive returns the next value of a channel.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// onlyHeaders returns the headers of the first record of a topic, once it is there.
func onlyHeaders(t *testing.T, c *streamtest.Cluster, topic string) map[string]string {
	t.Helper()
	var headers map[string]string
	eventually(t, "a record in "+topic, func() bool {
		recs := c.ReadAll(t, topic)
		if len(recs) == 0 {
			return false
		}
		headers = make(map[string]string)
		for _, h := range recs[0].Headers {
			headers[h.Key] = string(h.Value)
		}
		return true
	})
	return headers
}

// The versions of a person's name, each with a message type of its own.
type nameV1 struct {
	Name string `avro:"name"`
}

type nameV2 struct {
	First string `avro:"first"`
	Last  string `avro:"last"`
}

type nameV3 struct {
	Given []string `avro:"given"`
	Last  string   `avro:"last"`
}

var nameSchemas = [3]avro.Schema{
	parsed(`{"type":"record","name":"test.NameV1","parley.type":"test.name","fields":[{"name":"name","type":"string"}]}`),
	parsed(`{"type":"record","name":"test.NameV2","parley.type":"test.name.v2","fields":[{"name":"first","type":"string"},{"name":"last","type":"string"}]}`),
	parsed(`{"type":"record","name":"test.NameV3","parley.type":"test.name.v3","fields":[{"name":"given","type":{"type":"array","items":"string"}},{"name":"last","type":"string"}]}`),
}

func parsed(text string) avro.Schema {
	schema, err := schemas.ParseSchema(text)
	if err != nil {
		panic(err)
	}
	return schema
}

func (nameV1) Schema() avro.Schema { return nameSchemas[0] }
func (nameV2) Schema() avro.Schema { return nameSchemas[1] }
func (nameV3) Schema() avro.Schema { return nameSchemas[2] }
