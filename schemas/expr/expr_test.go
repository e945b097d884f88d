package expr

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, text string) avro.Schema {
	t.Helper()
	schema, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

const sampleText = `{"type":"record","name":"test.Sample","fields":[
	{"name":"flag","type":"boolean"},{"name":"n","type":"long"},{"name":"f","type":"float"},{"name":"s","type":"string"},{"name":"y","type":"bytes"},
	{"name":"e","type":{"type":"enum","name":"E","symbols":["LOW","HIGH"]}},
	{"name":"x","type":{"type":"fixed","name":"X","size":2}},
	{"name":"a","type":{"type":"array","items":"long"}},
	{"name":"m","type":{"type":"map","values":"string"}},
	{"name":"maybe","type":["null","long"]},
	{"name":"none","type":["null","string"]},
	{"name":"tags","type":["null",{"type":"array","items":"string"}]},
	{"name":"any","type":["long","string"]},
	{"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
	{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"us","type":{"type":"long","logicalType":"timestamp-micros"}},
	{"name":"date","type":{"type":"int","logicalType":"date"}},
	{"name":"noon","type":{"type":"int","logicalType":"time-millis"}},
	{"name":"in","type":"int"},
	{"name":"tree","type":["null",{"type":"record","name":"Tree","fields":[{"name":"v","type":"int"},{"name":"below","type":["null","Tree"]}]}]}
]}`

// sample is a value of sampleText, in its order.
func sample(t *testing.T, schema avro.Schema) []byte {
	t.Helper()
	at := time.UnixMilli(1700000000123).UTC()
	b, err := avro.Marshal(schema, map[string]any{
		"flag": true, "n": int64(-5), "f": float32(1.5), "s": "ünï", "y": []byte{0, 255}, "e": "HIGH", "x": [2]byte{1, 2},
		"a": []any{int64(1), int64(300)}, "m": map[string]any{"k": "v"}, "maybe": map[string]any{"long": int64(7)}, "none": nil, "tags": nil,
		"any": map[string]any{"string": "text"}, "dec": dec(-12345, 100), "ts": at, "us": at.Add(time.Microsecond),
		"date": time.Unix(86400*19000, 0).UTC(), "noon": 12 * time.Hour, "in": 3,
		"tree": map[string]any{"test.Tree": map[string]any{"v": 2, "below": map[string]any{"test.Tree": map[string]any{"v": 1, "below": nil}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	schema := parse(t, sampleText)
	types := NewTypes()
	typ, err := types.Of(schema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := typ.Read(sample(t, schema))
	if err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]string{ // true, false, a part of the evaluation's error, or after ! of the compiler's
		"this.flag":                                        "true",
		"this.n == -5 && this.n < 0.5":                     "true",
		"this.f == 1.5 && this.f > 1":                      "true",
		"this.s.size() == 3 && this.s.startsWith('ü')":     "true",
		"this.s.matches('^[a-z]+$')":                       "false",
		"this.y == b'\\x00\\xff' && this.y.size() == 2":    "true",
		"this.e == 'HIGH'":                                 "true",
		"this.x == b'\\x01\\x02'":                          "true",
		"this.a.all(n, n > 0) && this.a[1] == 300":         "true",
		"this.a.exists(n, n > 300)":                        "false",
		"this.a[2] == 1":                                   "index out of bounds",
		"'k' in this.m && this.m.k == 'v'":                 "true",
		"this.maybe == 7 && has(this.maybe)":               "true",
		"this.none == null && !has(this.none)":             "true",
		"this.none.size() > 0":                             "no such overload",
		"has(this.tags)":                                   "false",
		"this.any == 'text'":                               "true",
		"this.any > 3":                                     "no such overload",
		"this.dec == -123.45":                              "true",
		"this.ts.getFullYear() == 2023":                    "true",
		"this.us - this.ts == duration('0.000001s')":       "true",
		"this.date == timestamp('2022-01-08T00:00:00Z')":   "true",
		"this.noon == duration('12h')":                     "true",
		"this.`in` == 3":                                   "true",
		"this.tree.below.v == 1":                           "true",
		"this.tree.below.below == null":                    "true",
		"this.tree.below.below.v == 1":                     "there is no v: the record is null",
		"this.tree == this.tree":                           "true",
		"this.tree == this.tree.below":                     "false",
		"type(this.tree) == type(this.tree.below)":         "true",
		"dyn(this).n == -5 && !has(dyn(this).none)":        "true",
		"dyn(this).nope == 1":                              "has no field nope",
		"math.abs(this.n) == 5 && this.s.trim() == 'ünï'":  "true",
		"this.nope == 1":                                   "!undefined field 'nope'",
		"has(this.nope)":                                   "!undefined field 'nope'",
		"this.s > 3":                                       "!no matching overload",
		"this.maybe > 'x'":                                 "!no matching overload",
		"that":                                             "!column 1: undeclared reference to 'that'",
		"now() > this.ts":                                  "!undeclared reference to 'now'",
		"this.n":                                           "!its result is int instead of bool",
		"this.any":                                         "!its result is dyn instead of bool",
		"this.s.matches('(')":                              "!error parsing regexp",
		"this.ts > timestamp('yesterday')":                 "!invalid timestamp argument",
		"this.n == ":                                       "!Syntax error",
		"":                                                 "!Syntax error",
		"this.s.replace('a', 'b') == ''":                   "!the function replace is not available",
		"this.s.indexOf('a') == 0":                         "!the function indexOf is not available",
		"this.s.matches(this.e)":                           "!the pattern of matches has to be a literal",
		"this.s.matches('(abcdefghij){1,200}')":            "!steps, allowed are 1000",
		"this.s.split('') == ['a']":                        "!the function split is not available",
		"test.Tree{v: 1} == this.tree":                     "!undeclared reference to 'test.Tree'",
		"this.n == 1" + strings.Repeat(" ", MaxExpression): "!expression code point size exceeds limit",
		strings.Repeat("(", 500) + "true":                  "!recursion",
		strings.Repeat("!", 3000) + "true":                 "true",
	} {
		name := expression[:min(len(expression), 60)]
		p, err := types.Compile(expression, 10000, Var{"this", typ})
		if refused, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), refused) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: compiled: %v, want %s", name, err, refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := p.Eval(nil, v)
		switch {
		case want == "true" || want == "false":
			if err != nil || got != (want == "true") {
				t.Errorf("%s is %v, %v", name, got, err)
			}
		case err == nil || got || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// Conditions over several variables: attributes of a message beside its payload.
func TestVariables(t *testing.T) {
	t.Parallel()
	types := NewTypes()
	payload, err := types.Of(parse(t, `{"type":"record","name":"P","fields":[{"name":"level","type":"string"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	// Another version of the same name beside it.
	old, err := types.Of(parse(t, `{"type":"record","name":"P","fields":[{"name":"urgent","type":"boolean"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := types.Compile("source == 'triage' && at > timestamp('2020-01-01T00:00:00Z') && hops > 0 && (payload.level == 'high' || old.urgent)", 1000,
		Var{"source", StringType}, Var{"at", TimestampType}, Var{"hops", IntType}, Var{"payload", payload}, Var{"old", old})
	if err != nil {
		t.Fatal(err)
	}
	high, err := payload.Read([]byte("\x08high"))
	if err != nil {
		t.Fatal(err)
	}
	calm, err := old.Read([]byte{0})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]bool{"triage": true, "other": false} {
		if got, err := p.Eval(nil, String(source), Timestamp(time.Unix(1700000000, 0)), Int(1), high, calm); err != nil || got != want {
			t.Errorf("from %s: %v, %v", source, got, err)
		}
	}
	if _, err := p.Eval(nil); err == nil {
		t.Error("without variables there is a result")
	}
	if _, err := types.Compile("payload.urgent", 1000, Var{"payload", payload}); err == nil {
		t.Error("a field of another version is there")
	}
}

// What a hostile value can make an expression do ends soon, whatever the expression.
func TestCostIsBounded(t *testing.T) {
	t.Parallel()
	schema := parse(t, `{"type":"record","name":"H","fields":[{"name":"a","type":{"type":"array","items":"string"}},{"name":"s","type":"string"},{"name":"y","type":"bytes"},
		{"name":"r","type":{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"s","type":"string"}]}}}]}`)
	many := make([]any, 50_000)
	records := make([]any, 1000)
	for i := range many {
		many[i] = "x"
	}
	for i := range records {
		records[i] = map[string]any{"s": strings.Repeat("y", 1000)}
	}
	payload, err := avro.Marshal(schema, map[string]any{"a": many, "s": strings.Repeat("ab", 1<<20), "y": make([]byte, 1<<21), "r": records})
	if err != nil {
		t.Fatal(err)
	}
	types := NewTypes()
	typ, err := types.Of(schema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := typ.Read(payload)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 1_000_000
	for _, expression := range []string{
		"this.a.all(x, this.a.all(y, x == y))",
		"this.a.all(x, !this.a.exists(y, y == 'no'))",
		"this.a.all(x, this.s.size() > 3)",
		"this.a.all(x, size(this.s) > 3)",
		"this.a.all(x, string(this.y).size() > 3)",
		"this.a.all(x, bytes(this.s).size() > 3)",
		"this.a.all(x, !this.s.contains('aa'))",
		"this.a.all(x, this.s.lowerAscii() != x)",
		"this.a.all(x, this.s.reverse() != x)",
		"this.a.all(x, this.s.trim() != x)",
		"this.a.all(x, this.s.charAt(2000000) != x)",
		"this.a.all(x, this.s.substring(3) != x)",
		"this.a.all(x, this.s + this.s != x)",
		"this.a.all(x, !this.s.matches('(a|b|ab|ba){1,60}c$'))",
		"this.a.all(x, !this.s.matches('(a|aa)+$'))",
		"this.a.all(x, !this.s.substring(0, 30000).matches('(a|b|ab|ba){1,60}c$'))",
		"this.a.all(x, !this.s.substring(0, 300).matches('(a|b|ab|ba){1,60}c$'))",
		"this.a.all(x, this.r == this.r)",
		"this.a.all(x, this.a == this.a)",
		"this.a.all(x, this.r[0] in this.r && !(this.r[0] in [this.r[1]]))",
		"this.a.map(x, this.a).size() == 1 || this.a.map(x, this.s + x).size() == 1",
		"this.a.map(x, this.a + this.a).size() == 1 || this.a.map(x, string(this.y)).size() == 1",
		"this.a.all(x, this.a.map(y, y + y).size() > 3)",
	} {
		p, err := types.Compile(expression, limit, Var{"this", typ})
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		start := time.Now()
		_, err = p.Eval(nil, v)
		took := time.Since(start)
		t.Logf("%8v %s", took.Round(time.Millisecond), expression)
		if !errors.Is(err, ErrCost) {
			t.Errorf("%s: %v", expression, err)
		}
		if took > 10*time.Second {
			t.Errorf("%s took %v", expression, took)
		}
	}

	// One call alone must not take long either: its price is known after it.
	p, err := types.Compile("this.s.matches('(a|b|ab|ba){1,60}c$')", math.MaxInt64, Var{"this", typ})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(nil, v); !errors.Is(err, ErrCost) {
		t.Errorf("a long text is held against a long pattern: %v", err)
	}
}

func TestBudgetIsShared(t *testing.T) {
	t.Parallel()
	p, err := NewTypes().Compile("n > 0 && n < 10", 1000, Var{"n", IntType})
	if err != nil {
		t.Fatal(err)
	}
	budget := NewBudget(20)
	for n := 1; ; n++ {
		_, err := p.Eval(budget, Int(3))
		if errors.Is(err, ErrCost) {
			if n < 3 {
				t.Errorf("spent after %d evaluations", n)
			}
			return
		}
		if err != nil || n > 100 {
			t.Fatalf("evaluation %d: %v", n, err)
		}
	}
}

// What is not of the schema is an error or another value, never a panic.
func FuzzRead(f *testing.F) {
	schema, err := avro.ParseWithCache(sampleText, "", &avro.SchemaCache{})
	if err != nil {
		f.Fatal(err)
	}
	types := NewTypes()
	typ, err := types.Of(schema)
	if err != nil {
		f.Fatal(err)
	}
	p, err := types.Compile(`this.s.size() < 9 || this.a.all(n, n < 3) || this.m.exists(k, this.m[k] == k) || this.ts + duration('1h') < this.us ||
		this.date.getFullYear() == 3 || this.noon.getHours() == 1 || this.dec * 2.0 > 3.0 || this.n * 3 > this.n || string(this.any) == 'x' || this.tree.below == null`,
		10000, Var{"this", typ})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{1, 9, 0, 0, 192, 63, 6, 'a', 'b', 'c', 2, 1, 2, 1, 2, 2, 2, 0, 0, 0, 0, 0, 2, 2, 'x'})
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, err := typ.Read(payload)
		if err != nil {
			return
		}
		if _, err := p.Eval(nil, v); err != nil && strings.Contains(err.Error(), "failed") {
			t.Fatal(err)
		}
	})
}

func dec(num, den int64) *big.Rat { return big.NewRat(num, den) }
