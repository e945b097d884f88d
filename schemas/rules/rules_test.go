package rules

import (
	"errors"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"go.uber.org/goleak"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parseSchema(t *testing.T, text string) avro.Schema {
	t.Helper()
	schema, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return schema
}

// one is a record of one field f, with a rule on it.
func one(typ, expression string) string {
	return `{"type":"record","name":"R","fields":[{"name":"f","type":` + typ + `,"parley.rules":[{"id":"r","expression":"` + expression + `"}]}]}`
}

func TestCheck(t *testing.T) {
	t.Parallel()
	station := `{"type":"record","name":"Station","parley.rules":[{"id":"both","expression":"has(this.magnitude) == (this.how != '')"}],"fields":[
		{"name":"magnitude","type":["null","double"],"parley.rules":[{"id":"range","expression":"this > -3 && this < 11"}]},{"name":"how","type":"string"}]}`
	of := func(m any, how string) map[string]any {
		if m != nil {
			m = map[string]any{"double": m}
		}
		return map[string]any{"magnitude": m, "how": how}
	}
	record := func(typ string) string {
		return `{"type":"record","name":"Q","fields":[{"name":"stations","type":` + typ + `}]}`
	}
	in := func(v any) map[string]any { return map[string]any{"stations": v} }
	f := func(v any) map[string]any { return map[string]any{"f": v} }
	for _, c := range []struct {
		name, schema string
		value        any
		path, id     string // empty: nothing is broken
	}{
		{"a range", one(`"int"`, "this >= 1 && this <= 3"), f(3), "", ""},
		{"above a range", one(`"int"`, "this >= 1 && this <= 3"), f(4), "payload.f", "r"},
		{"a pattern", one(`"string"`, "this.matches('^[a-z]+$')"), f("abc"), "", ""},
		{"not of a pattern", one(`"string"`, "this.matches('^[a-z]+$')"), f("a1"), "payload.f", "r"},
		{"a length in characters", one(`"string"`, "this.size() <= 3"), f("ünï"), "", ""},
		{"too long", one(`"string"`, "this.size() <= 3"), f("ünïx"), "payload.f", "r"},
		{"too many bytes", one(`"bytes"`, "this.size() <= 3"), f([]byte("1234")), "payload.f", "r"},
		{"items", one(`{"type":"array","items":"int"}`, "this.size() > 0 && this.all(n, n > 0)"), f([]any{1, 2}), "", ""},
		{"a bad item", one(`{"type":"array","items":"int"}`, "this.size() > 0 && this.all(n, n > 0)"), f([]any{1, 0}), "payload.f", "r"},
		{"no items", one(`{"type":"array","items":"int"}`, "this.size() > 0 && this.all(n, n > 0)"), f([]any{}), "payload.f", "r"},
		{"null is not looked at", one(`["null","int"]`, "this > 3"), f(nil), "", ""},
		{"what is not null is", one(`["null","int"]`, "this > 3"), f(map[string]any{"int": 3}), "payload.f", "r"},
		{"null of a wider union", one(`["null","int","string"]`, "this != 3"), f(nil), "", ""},
		{"a wider union", one(`["null","int","string"]`, "this != 3"), f(map[string]any{"int": 3}), "payload.f", "r"},
		{"a rule that cannot be evaluated", one(`["null","int","string"]`, "this > 3"), f(map[string]any{"string": "x"}), "payload.f", "r"},

		{"a record", record(station), in(of(1.0, "ml")), "", ""},
		{"a record's field", record(station), in(of(11.0, "ml")), "payload.stations.magnitude", "range"},
		{"required together", record(station), in(of(1.0, "")), "payload.stations", "both"},
		{"required together, the other way", record(station), in(of(nil, "ml")), "payload.stations", "both"},
		{"neither", record(station), in(of(nil, "")), "", ""},
		{"in an array", record(`{"type":"array","items":` + station + `}`), in([]any{of(1.0, "ml"), of(nil, ""), of(-3.0, "ml")}), "payload.stations[2].magnitude", "range"},
		{"in a map", record(`{"type":"map","values":` + station + `}`), in(map[string]any{"a b": of(1.0, "")}), "payload.stations.a b", "both"},
		{"under an empty key", record(`{"type":"map","values":` + station + `}`), in(map[string]any{"": of(-3.0, "x")}), "payload.stations..magnitude", "range"},
		{"in a nullable", record(`["null",` + station + `]`), in(nil), "", ""},
		{"in a nullable that is there", record(`["null",` + station + `]`), in(map[string]any{"Station": of(11.0, "x")}), "payload.stations.magnitude", "range"},
		{"in a union", record(`["string",` + station + `,{"type":"array","items":"Station"}]`), in(map[string]any{"Station": of(11.0, "x")}), "payload.stations.magnitude", "range"},
		{"in a union's array", record(`["string",` + station + `,{"type":"array","items":"Station"}]`), in(map[string]any{"array": []any{of(11.0, "x")}}), "payload.stations[0].magnitude", "range"},
		{"in a union's other branch", record(`["string",` + station + `]`), in(map[string]any{"string": "x"}), "", ""},
		{"in maps of arrays", record(`{"type":"map","values":{"type":"array","items":` + station + `}}`), in(map[string]any{"k": []any{of(1.0, "")}}), "payload.stations.k[0]", "both"},
	} {
		schema := parseSchema(t, c.schema)
		set, err := Compile(schema, DefaultCost)
		if err != nil || set == nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		payload, err := avro.Marshal(schema, c.value)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := set.Check(payload)
		if got == nil {
			got = &Violation{}
		}
		if got.Path != c.path || got.ID != c.id {
			t.Errorf("%s: %+v, want %s at %s", c.name, got, c.id, c.path)
		}
	}
}

func TestRecursion(t *testing.T) {
	t.Parallel()
	schema := parseSchema(t, `{"type":"record","name":"Tree","fields":[{"name":"v","type":"int","parley.rules":[{"id":"some","expression":"this > 0"}]},
		{"name":"below","type":{"type":"array","items":"Tree"}}]}`)
	set, err := Compile(schema, DefaultCost)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(v int) map[string]any { return map[string]any{"v": v, "below": []any{}} }
	payload, err := avro.Marshal(schema, map[string]any{"v": 1, "below": []any{leaf(1), map[string]any{"v": 1, "below": []any{leaf(1), leaf(0)}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Check(payload); got == nil || got.Path != "payload.below[1].below[1].v" {
		t.Errorf("%+v", got)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	field := func(rules string) string {
		return `{"type":"record","name":"R","fields":[{"name":"f","type":"int","parley.rules":` + rules + `}]}`
	}
	for text, want := range map[string]string{
		field(`"this > 0"`):                  `payload.f: parley.rules is not an array of {"id": …, "expression": …}`,
		field(`{}`):                          "is not an array",
		field(`["this > 0"]`):                "payload.f: parley.rules[0]: it is not",
		field(`[{"expression":"true"}]`):     "its id is missing",
		field(`[{"id":"a"}]`):                "rule a: its expression is missing",
		field(`[{"id":"a b"}]`):              "printable",
		field(`[{"id":1}]`):                  "its id is not a text",
		field(`[{"id":"a","expresion":""}]`): `"expresion" is not one of id, expression and message`,
		field(`[{"id":"a","expression":"true"},{"id":"a","expression":"true"}]`): "parley.rules[1]: the id a stands twice",
		field(`[{"id":"a","expression":"this.x > 0"}]`):                          "payload.f: rule a: column",
		one(`{"type":"string","parley.rules":[]}`, "true"):                       "payload.f: parley.rules stands in a type",
		`{"type":"record","name":"R","fields":[{"name":"l","type":{"type":"array","items":{"type":"record","name":"I","parley.rules":[{"id":"i","expression":"this.nope"}],"fields":[]}}}]}`: "payload.l[]: rule i: column 5: undefined field 'nope'",
	} {
		set, err := Compile(parseSchema(t, text), DefaultCost)
		if set != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if set, err := Compile(parseSchema(t, `{"type":"record","name":"R","fields":[{"name":"f","type":"int"}]}`), DefaultCost); set != nil || err != nil {
		t.Errorf("without rules: %v, %v", set, err)
	}
}

// The rules of all items have one budget.
func TestCostOfAllRules(t *testing.T) {
	t.Parallel()
	schema := parseSchema(t, `{"type":"record","name":"R","fields":[{"name":"l","type":{"type":"array","items":{"type":"record","name":"I","fields":[
		{"name":"v","type":"int","parley.rules":[{"id":"some","expression":"this > 0"}]}]}}}]}`)
	items := make([]any, 1000)
	for i := range items {
		items[i] = map[string]any{"v": 1}
	}
	payload, err := avro.Marshal(schema, map[string]any{"l": items})
	if err != nil {
		t.Fatal(err)
	}
	for cost, broken := range map[uint64]bool{100: true, DefaultCost: false} {
		set, err := Compile(schema, cost)
		if err != nil {
			t.Fatal(err)
		}
		got := set.Check(payload)
		if (got != nil) != broken || got != nil && (!errors.Is(got.Err, expr.ErrCost) || !strings.HasPrefix(got.Path, "payload.l[")) {
			t.Errorf("with %d units: %+v", cost, got)
		}
	}
}
