package worker_test

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// contractsIn are the records of the topic of agents under a group's key.
func contractsIn(t *testing.T, c *streamtest.Cluster, group string) (recs []*kgo.Record) {
	t.Helper()
	for _, r := range c.ReadAll(t, "parley.agents") {
		if string(r.Key) == schemas.ContractKey(group) {
			recs = append(recs, r)
		}
	}
	return recs
}

func TestAWorkerPublishesItsContractWhereItDiffers(t *testing.T) {
	inEachMode(t, testAWorkerPublishesItsContractWhereItDiffers)
}

func testAWorkerPublishesItsContractWhereItDiffers(t *testing.T, exactlyOnce bool) {
	c := streamtest.NewCluster(t)
	p := connect(t, c)
	agent := func(more bool) *agents.Agent {
		a := agents.New("taker", agents.Config{Group: "takers", Streams: []string{"things"}, ExactlyOnce: exactlyOnce})
		agents.Produces[schemas.ErrorReply](a, agents.AsReply())
		agents.On(a, func(context.Context, *agents.Message[schemas.Ack]) error { return nil })
		if more {
			agents.On(a, func(context.Context, *agents.Message[schemas.ErrorReply]) error { return nil })
		}
		return a
	}
	published := func(n int) *kgo.Record {
		t.Helper()
		eventually(t, "the contract is published", func() bool { return len(contractsIn(t, c, "takers")) >= n })
		return contractsIn(t, c, "takers")[n-1]
	}
	stop := start(t, p, agent(false))
	rec := published(1)
	stop()
	record, ok, err := schemas.ParseContract(t.Context(), p.Codec(), &streaming.Record{Key: rec.Key, Value: rec.Value})
	if !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	got, err := contract.FromRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	if want := agent(false).Contract(); !reflect.DeepEqual(got, want) {
		t.Errorf("published is %+v\nwant %+v", got, want)
	}
	start(t, p, agent(false))()
	start(t, p, agent(true))
	published(2)
	if n := len(contractsIn(t, c, "takers")); n != 2 {
		t.Errorf("%d records: want one for each contract that differs", n)
	}
}

// A reader that knows no contracts, as workers of earlier versions are, takes none for
// control; and a contract that is none stops nobody.
func TestAContractIsNoControl(t *testing.T) {
	s := newPausing(t, false)
	_, stop := s.start()
	eventually(t, "the contract is published", func() bool { return len(contractsIn(t, s.c, "taker")) == 1 })
	stop()
	s.must(s.c.Client(t).ProduceSync(t.Context(),
		&kgo.Record{Topic: "parley.agents", Key: []byte(schemas.ContractKey("taker")), Value: []byte("not Avro")}).FirstErr())
	state, _ := s.start()
	s.await("it runs", false, state)
	s.send(0, 5)
	s.handled(5)
	eventually(t, "the contract is published over it", func() bool { return len(contractsIn(t, s.c, "taker")) == 3 })
	if n := state.skipped.Load(); n > 0 {
		t.Errorf("%d contracts were taken for control records", n)
	}
	rec := contractsIn(t, s.c, "taker")[2]
	if _, ok, err := schemas.ParseControl(t.Context(), s.p.Codec(), &streaming.Record{Key: rec.Key, Value: rec.Value}); ok || err != nil {
		t.Errorf("as control: %v, %v", ok, err)
	}
}

// unregistered knows no schema of contracts.
type unregistered struct{ *schemas.MemoryRegistry }

func (u unregistered) ID(ctx context.Context, schema avro.Schema) (int, error) {
	if schemas.FullName(schema) == "parley.AgentContract" {
		return 0, &schemas.SchemaError{Subject: "parley.AgentContract", Problem: "is not registered"}
	}
	return u.MemoryRegistry.ID(ctx, schema)
}

func TestAWorkerRunsWithoutPublishingItsContract(t *testing.T) {
	s := newPausing(t, false)
	logged := new(logLines)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: s.c.Brokers, Schemas: unregistered{s.c.Schemas}, Partitions: 1, Logger: slog.New(slog.NewTextHandler(logged, nil)),
	})
	s.must(err)
	s.p = p
	s.start()
	s.send(0, 5)
	s.handled(5)
	eventually(t, "it says so", func() bool { return strings.Contains(logged.String(), "the agent's contract is not published") })
	if n := len(contractsIn(t, s.c, "taker")); n > 0 {
		t.Errorf("%d contracts", n)
	}
}

// logLines keeps what is logged.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
