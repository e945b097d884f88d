package schemas

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func wantRule(t *testing.T, err error, path, id string) {
	t.Helper()
	broken, ok := errors.AsType[*RuleError](err)
	if !ok {
		t.Fatalf("no *RuleError but %v", err)
	}
	if broken.Path != path || broken.ID != id || broken.Schema != "test.Quake" {
		t.Errorf("%+v, want %s at %s", broken, id, path)
	}
	if text := err.Error(); !strings.Contains(text, path) || !strings.Contains(text, id) || strings.Contains(text, "\n") {
		t.Errorf("the text does not name rule and path in one line: %s", text)
	}
	wantReason(t, err, streaming.ReasonContract)
}

func TestRulesAreCheckedOnBothSides(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	for _, c := range []struct {
		change   func(*ruledQuake)
		path, id string // empty: no rule is broken
	}{
		{func(*ruledQuake) {}, "", ""},
		{func(q *ruledQuake) { q.Magnitude = nil }, "", ""},
		{func(q *ruledQuake) { q.Latitude = 90 }, "", ""},
		{func(q *ruledQuake) { q.Latitude = 90.5 }, "payload.latitude", "degrees"},
		{func(q *ruledQuake) { q.Longitude = -180.5 }, "payload.longitude", "degrees"},
		{func(q *ruledQuake) { *q.Magnitude = 12 }, "payload.magnitude", "range"},
		{func(q *ruledQuake) { q.Eventid = "US1" }, "payload.eventid", "id"},
		{func(q *ruledQuake) { q.Updated = q.Time.Add(-time.Second) }, "payload", "updated-after"},
	} {
		q := sampleQuake()
		c.change(&q)
		_, err := codec.Encode(ctx, &q)
		if c.id == "" && err != nil {
			t.Errorf("%+v is refused: %v", q, err)
		} else if c.id != "" {
			wantRule(t, err, c.path, c.id)
		}
		// A sender without rules writes it all the same.
		plain := plainQuake(q)
		value, err := codec.Encode(ctx, &plain)
		if err != nil {
			t.Fatal(err)
		}
		var got ruledQuake
		err = codec.Decode(ctx, value, &got, "")
		if c.id == "" {
			if err != nil || got.Eventid != q.Eventid {
				t.Errorf("%+v is read as %+v, %v", q, got, err)
			}
			continue
		}
		wantRule(t, err, c.path, c.id)
		if got != (ruledQuake{}) {
			t.Errorf("after an error there is %+v", got)
		}
		// A tool shows what breaks the rules.
		if _, v, err := codec.DecodeAny(ctx, value); err != nil || v == nil {
			t.Errorf("DecodeAny: %v", err)
		}
	}
}

func TestRulesHoldForJSON(t *testing.T) {
	t.Parallel()
	codec := NewCodec(NewMemoryRegistry())
	const text = `{"eventid":"us1","place":"","time":0,"updated":1,"longitude":0,"latitude":LAT,"tsunami":false,"significance":0}`
	if _, err := codec.EncodeJSON(1, ruledQuakeSchema, []byte(strings.Replace(text, "LAT", "90", 1))); err != nil {
		t.Error(err)
	}
	_, err := codec.EncodeJSON(1, ruledQuakeSchema, []byte(strings.Replace(text, "LAT", "91", 1)))
	wantRule(t, err, "payload.latitude", "degrees")
}

// Rules of another version are its author's: only the reader's own count, in the
// reader's form of the value, and whether others' can be used does not matter.
func TestOnlyTheReadersRulesCount(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	broken := mustParse(strings.Replace(strings.ReplaceAll(ruledQuakeText, "this >= -90 && this <= 90", "this.no.such.thing"),
		`{"name":"eventid","type":"string",`, `{"name":"old","type":"int"},{"name":"eventid","type":"string",`, 1))
	id, err := registry.ID(ctx, broken)
	if err != nil {
		t.Fatal(err)
	}
	value := func(lat string) []byte {
		const text = `{"old":1,"eventid":"us1","magnitude":null,"place":"","time":0,"updated":1,"longitude":0,"latitude":LAT,"tsunami":false,"significance":0}`
		v, err := parseJSON([]byte(strings.Replace(text, "LAT", lat, 1)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := appendJSON(AppendFrame(nil, id, nil), broken, v, "payload")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var got ruledQuake
	if err := codec.Decode(ctx, value("90"), &got, ""); err != nil {
		t.Errorf("the writer's rules stop its reader: %v", err)
	}
	wantRule(t, codec.Decode(ctx, value("91"), &got, ""), "payload.latitude", "degrees")
	if _, _, err := codec.DecodeAny(ctx, value("91")); err != nil {
		t.Error(err)
	}
	// The author finds out at once.
	for _, err := range []error{
		CheckRules(broken),
		func() error { _, err := codec.EncodeJSON(id, broken, []byte(`{}`)); return err }(),
		codec.plan(planKey{writer: broken, reader: broken}).err,
	} {
		wantReason(t, err, streaming.ReasonSchema)
		if !strings.Contains(err.Error(), "payload.latitude: rule degrees: column") {
			t.Errorf("%v", err)
		}
	}
}

// Two schemas that differ in their rules only have one fingerprint: neither may be
// taken for the other.
func TestSchemasThatDifferInRulesOnly(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	if ruledQuakeSchema.Fingerprint() != plainQuakeSchema.Fingerprint() {
		t.Fatal("the fingerprint tells properties apart: then this test tests nothing")
	}
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	bad := sampleQuake()
	bad.Latitude = 91
	plain := plainQuake(bad)
	for range 2 {
		value, err := codec.Encode(ctx, &plain)
		if err != nil {
			t.Fatal(err)
		}
		_, err = codec.Encode(ctx, &bad)
		wantRule(t, err, "payload.latitude", "degrees")
		if err := codec.Decode(ctx, value, &plainQuake{}, ""); err != nil {
			t.Error(err)
		}
		wantRule(t, codec.Decode(ctx, value, &ruledQuake{}, ""), "payload.latitude", "degrees")
	}
	a, errA := registry.ID(ctx, ruledQuakeSchema)
	b, errB := registry.ID(ctx, plainQuakeSchema)
	if a == b || errA != nil || errB != nil {
		t.Errorf("IDs %d and %d, %v, %v", a, b, errA, errB)
	}
	text, err := SchemaText(ruledQuakeSchema)
	if err != nil || strings.Count(text, RulesProperty) != 5 || CheckRules(mustParse(text)) != nil {
		t.Errorf("the registered text: %v\n%s", err, text)
	}
}

func TestWithoutRulesNothingIsCompiled(t *testing.T) {
	codec := NewCodec(NewMemoryRegistry())
	for _, key := range []planKey{
		{writer: plainQuakeSchema, sending: true},
		{writer: ruledQuakeSchema, reader: plainQuakeSchema},
		{writer: ruledQuakeSchema},
	} {
		if p := codec.plan(key); p.rules != nil || p.err != nil {
			t.Errorf("%+v has rules: %v", key, p.err)
		}
	}
}

func TestRuleCostIsBounded(t *testing.T) {
	t.Parallel()
	q := sampleQuake()
	_, err := NewCodec(NewMemoryRegistry(), WithLimits(Limits{MaxRuleCost: 1})).Encode(context.Background(), &q)
	wantRule(t, err, "payload", "updated-after")
	if !strings.Contains(err.Error(), "costs more than the limit") {
		t.Error(err)
	}
}

// Rules take whatever schemas and bytes there are: no panic, and what the codec
// reads they read.
func TestRulesReadRandomValues(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	readable := 0
	for i := range uint64(40) {
		g := &valueSource{Rand: rand.New(rand.NewPCG(seed+i, 0))}
		for _, p := range drawPairs(t, seed+i) {
			types := expr.NewTypes()
			typ, err := types.Of(mustParse(p.text))
			if err != nil {
				t.Fatal(err)
			}
			program, err := types.Compile("this == this && dyn(this) != 'x' && type(this) != int", 10_000, expr.Var{Name: "this", Type: typ})
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed+i, p.text, err)
			}
			for range valuesPerSchema {
				valid, err := p.peer.Encode(g.draw(p.shape))
				if err != nil {
					t.Fatal(err)
				}
				for _, payload := range [][]byte{valid, g.otherForm(p.shape, valid), g.mutate(valid), g.mutate(valid)} {
					_, _, unfit := p.codec.DecodeAny(context.Background(), AppendFrame(nil, p.id, payload))
					v, err := typ.Read(payload)
					if unfit == nil && err != nil {
						t.Fatalf("seed %d: %x of %s: %v", seed+i, payload, p.text, err)
					}
					if err != nil {
						continue
					}
					readable++
					if _, err := program.Eval(nil, v); err != nil && !errors.Is(err, expr.ErrCost) {
						t.Fatalf("seed %d: %x of %s: %v", seed+i, payload, p.text, err)
					}
				}
			}
		}
	}
	t.Logf("%d values", readable)
}
