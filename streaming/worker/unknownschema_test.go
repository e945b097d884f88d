package worker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

const (
	unknownRecords = 100_000 // whose schema the registry does not know
	unknownIDs     = 1_000   // different IDs of theirs
)

// countingRegistry counts the requests for each path.
type countingRegistry struct {
	fake *srfake.Registry
	mu   sync.Mutex
	gets map[string]int
}

func (r *countingRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.gets[req.URL.Path]++
	r.mu.Unlock()
	r.fake.Handler().ServeHTTP(w, req)
}

// Records whose schema the registry does not know are dead letters. It is asked
// for each ID once in a time, however many there are, and what stands between them
// is handled.
func TestUnknownSchemasAreAskedForOnce(t *testing.T) {
	c := streamtest.NewCluster(t)
	counts := &countingRegistry{fake: srfake.New(), gets: map[string]int{}}
	t.Cleanup(counts.fake.Close)
	server := httptest.NewServer(counts)
	t.Cleanup(server.Close)
	registry, err := schemas.NewRegistry(server.URL, schemas.WithAutoRegister(), schemas.WithNegativeTTL(time.Hour))
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
	got := newSeen()
	a := agents.New("taker", agents.Config{Retry: quick})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		got.add(m.ID())
		return nil
	})
	start(t, p, a)

	good := value(t, p, &schemas.ErrorReply{Reason: "r", Message: "m"})
	var recs []*kgo.Record
	known := 0
	add := func(value []byte) {
		id := fmt.Sprint(len(recs))
		recs = append(recs, &kgo.Record{Topic: "parley.inbox.taker", Key: []byte(id), Value: value, Headers: headers(
			"ce_specversion", "1.0", "ce_id", id, "ce_source", "neighbour", "ce_type", "agent.error")})
	}
	for i := range unknownRecords {
		bad := append([]byte{}, good...)
		binary.BigEndian.PutUint32(bad[1:], uint32(1_000_000+i%unknownIDs))
		add(bad)
		if i%100 == 99 {
			add(good)
			known++
		}
	}
	if err := c.Client(t).ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got.await(t, known)
	var dead []*kgo.Record
	eventually(t, "every record with an unknown schema is dead", func() bool {
		dead = c.ReadAll(t, "parley.inbox.taker.dlq.taker")
		return len(dead) >= unknownRecords
	})
	for _, d := range dead {
		for _, h := range d.Headers {
			if h.Key == schemas.HeaderReason && string(h.Value) != string(streaming.ReasonSchema) {
				t.Fatalf("%s is dead as %s", d.Key, h.Value)
			}
		}
	}
	if len(dead) != unknownRecords {
		t.Errorf("%d dead letters for %d records", len(dead), unknownRecords)
	}
	counts.mu.Lock()
	defer counts.mu.Unlock()
	asked := 0
	for path, n := range counts.gets {
		if !strings.HasPrefix(path, "/schemas/ids/1000") {
			continue
		}
		asked++
		if n > 1 {
			t.Errorf("%s is asked for %d times", path, n)
		}
	}
	if asked != unknownIDs {
		t.Errorf("%d IDs are asked for instead of %d", asked, unknownIDs)
	}
}
