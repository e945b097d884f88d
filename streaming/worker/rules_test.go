package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// order has a rule on a field of a record in an array. unchecked is what another
// program writes, which knows no rules.
type order struct {
	Lines []orderLine `avro:"lines"`
}

type orderLine struct {
	Count int32 `avro:"count"`
}

type unchecked order

const orderText = `{"type":"record","name":"test.Order","parley.type":"test.order","fields":[{"name":"lines","type":{"type":"array","items":
	{"type":"record","name":"Line","fields":[{"name":"count","type":"int","parley.rules":[{"id":"some","expression":"this > 0"}]}]}}}]}`

func orderSchema(text string) avro.Schema {
	schema, err := schemas.ParseSchema(text)
	if err != nil {
		panic(err)
	}
	return schema
}

var (
	ruledOrder     = orderSchema(orderText)
	uncheckedOrder = orderSchema(strings.Replace(orderText, schemas.RulesProperty, "doc.rules", 1))
)

func (order) Schema() avro.Schema     { return ruledOrder }
func (unchecked) Schema() avro.Schema { return uncheckedOrder }

// A message that breaks a rule is dead before its handler, and what a handler
// sends is held to its rules when it sends it.
func TestRulesOfASchema(t *testing.T) {
	inEachMode(t, func(t *testing.T, exactlyOnce bool) {
		c := streamtest.NewCluster(t)
		p := connect(t, c)
		got := newSeen()
		var refused atomic.Int32
		a := agents.New("taker", agents.Config{Retry: quick, ExactlyOnce: exactlyOnce})
		agents.On(a, func(_ context.Context, m *agents.Message[order]) error {
			err := m.Send("taker", &order{Lines: []orderLine{{1}, {-1}}})
			broken, ok := errors.AsType[*schemas.RuleError](err)
			if ok && broken.ID == "some" && broken.Path == "payload.lines[1].count" {
				refused.Add(1)
			}
			got.add(m.ID())
			return nil
		})
		start(t, p, a)

		var recs []*kgo.Record
		for id, v := range map[string]*unchecked{"good": {Lines: []orderLine{{1}, {2}}}, "bad": {Lines: []orderLine{{1}, {2}, {0}}}} {
			recs = append(recs, &kgo.Record{Topic: "parley.inbox.taker", Key: []byte(id), Value: value(t, p, v), Headers: headers(
				"ce_specversion", "1.0", "ce_id", id, "ce_source", "neighbour", "ce_type", "test.order")})
		}
		if err := c.Client(t).ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		got.await(t, 1)
		var dead []*kgo.Record
		eventually(t, "one message is dead", func() bool {
			dead = c.ReadAll(t, "parley.inbox.taker.dlq.taker")
			return len(dead) > 0
		})
		told := map[string]string{}
		for _, h := range dead[0].Headers {
			told[h.Key] = string(h.Value)
		}
		if len(dead) != 1 || string(dead[0].Key) != "bad" || told[schemas.HeaderReason] != "contract" ||
			!strings.Contains(told[schemas.HeaderError], "payload.lines[2].count breaks the rule some of test.Order: this > 0") {
			t.Errorf("%d dead letters, the first %s: %v", len(dead), dead[0].Key, told)
		}
		if refused.Load() != 1 || got.count["good"] != 1 || len(got.order) != 1 {
			t.Errorf("handled %v, refused to send %d", got.order, refused.Load())
		}
	})
}
