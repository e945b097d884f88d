package worker_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// A worker that starts while the registry is down, with what one before it was
// told in the schema cache, handles and sends. A schema that nobody has asked for
// waits for the registry, and its message is not dead before that has answered.
func TestAWorkerStartsWhileTheRegistryIsDown(t *testing.T) {
	inEachMode(t, testAWorkerStartsWhileTheRegistryIsDown)
}

func testAWorkerStartsWhileTheRegistryIsDown(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	fake, dir := srfake.New(), t.TempDir()
	t.Cleanup(fake.Close)
	var down atomic.Bool
	var askedInVain atomic.Int64 // for the schema that nobody knows
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if down.Load() {
			if req.URL.Path == "/schemas/ids/99" {
				askedInVain.Add(1)
			}
			panic(http.ErrAbortHandler)
		}
		fake.Handler().ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	connect := func() *agents.Platform {
		// A registry value of its own, as a process has.
		registry, err := schemas.NewRegistry(server.URL, schemas.WithAutoRegister(), schemas.WithSchemaCache(dir, nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(registry.Close)
		p, err := agents.Connect(t.Context(), agents.PlatformConfig{
			Brokers: c.Brokers, Schemas: registry, Partitions: 3, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	got := newSeen()
	taker := func() *agents.Agent {
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
			got.add(m.ID())
			return m.Send("taker", &schemas.Ack{Messageid: m.ID()}, agents.Key(m.Key))
		})
		agents.On(a, func(_ context.Context, m *agents.Message[schemas.Ack]) error {
			got.add("ack of " + m.Payload.Messageid)
			return nil
		})
		return a
	}
	var good []byte
	put := func(id string, value []byte) {
		t.Helper()
		err := c.Client(t).ProduceSync(t.Context(), &kgo.Record{Topic: "parley.inbox.taker", Key: []byte("k"), Value: value, Headers: headers(
			"ce_specversion", "1.0", "ce_id", id, "ce_source", "neighbour", "ce_type", "agent.error")}).FirstErr()
		if err != nil {
			t.Fatal(err)
		}
	}
	p := connect()
	stop := start(t, p, taker())
	good = value(t, p, &schemas.ErrorReply{Reason: "r", Message: "m"})
	put("before", good)
	got.await(t, 2)
	stop()

	down.Store(true)
	put("during", good)
	start(t, connect(), taker())
	got.await(t, 4)

	unknown := append([]byte{}, good...)
	binary.BigEndian.PutUint32(unknown[1:], 99)
	put("unknown", unknown)
	put("behind", good)
	eventually(t, "the unknown schema has been asked for in vain", func() bool { return askedInVain.Load() > 0 })
	if dead := c.ReadAll(t, "parley.inbox.taker.dlq.taker"); len(dead) > 0 {
		t.Fatalf("%d dead letters while the registry is down", len(dead))
	}
	down.Store(false)
	got.await(t, 6)
	eventually(t, "what the registry does not know is dead", func() bool {
		return len(c.ReadAll(t, "parley.inbox.taker.dlq.taker")) == 1
	})
}
