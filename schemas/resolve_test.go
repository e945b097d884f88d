package schemas

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// change is a writer's and a reader's type of one field, what the comparison says,
// and a value as it was written and is read. One that cannot be read has no Read.
// The table is a file as the tests on a real registry judge it too.
type change struct {
	Name           string
	Writer, Reader json.RawMessage
	Rules          []Rule
	Wrote, Read    json.RawMessage
}

func readChanges(t testing.TB) (changes []change) {
	t.Helper()
	text, err := os.ReadFile("testdata/changes.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &changes); err != nil {
		t.Fatal(err)
	}
	return changes
}

func record(fields string) string { return `{"type":"record","name":"Rec","fields":[` + fields + `]}` }

func TestChangesAreJudgedAndRead(t *testing.T) {
	t.Parallel()
	limits := Limits{}.withDefaults()
	codec := NewCodec(NewMemoryRegistry())
	for _, c := range readChanges(t) {
		writer, reader := mustParse(field(string(c.Writer))), mustParse(field(string(c.Reader)))
		problems := Unreadable(reader, writer)
		var rules []Rule
		for _, p := range problems {
			rules = append(rules, p.Rule)
			if !strings.HasPrefix(p.Path, "f") || p.Problem == "" || p.Remedy == "" {
				t.Errorf("%s: %+v", c.Name, p)
			}
		}
		if !slices.Equal(rules, c.Rules) {
			t.Errorf("%s: %v breaks %v instead of %v", c.Name, problems, rules, c.Rules)
		}

		value, err := parseJSON([]byte(`{"f":` + string(c.Wrote) + `}`))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := appendJSON(nil, writer, value, "")
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		var got json.RawMessage
		var v any
		if p := newPlan(planKey{writer: writer, reader: reader}); p.err == nil && codec.read(p, payload, &v) == nil {
			if got, err = json.Marshal(plain(v).(map[string]any)["f"]); err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != string(c.Read) {
			t.Errorf("%s: %s is read as %s instead of %s", c.Name, c.Wrote, got, c.Read)
		}
		if len(problems) == 0 {
			r, err := resolve(writer, reader)
			if err != nil {
				t.Fatal(err)
			}
			for n := range payload { // cut values never come here, and must not crash all the same
				_, _ = r.rewrite(payload[:n], &limits)
			}
		}
	}
}

// A default cannot make a small value a large one without a bound.
func TestDefaultsDoNotExceedTheLimits(t *testing.T) {
	t.Parallel()
	writer := mustParse(field(`{"type":"array","items":` + record(`{"name":"a","type":"int"}`) + `}`))
	reader := mustParse(field(`{"type":"array","items":` + record(`{"name":"a","type":"int"},{"name":"b","type":"string","default":"`+strings.Repeat("x", 10_000)+`"}`) + `}`))
	r, err := resolve(writer, reader)
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits{MaxBytes: 1 << 20}.withDefaults()
	payload := append(long(1000), make([]byte, 1001)...)
	if out, problem := r.rewrite(payload, &limits); problem == "" {
		t.Errorf("%d bytes have become %d", len(payload), len(out))
	}
}

// What is optional within what is optional, down to what does not fit, is compared
// once each: to try it anew on each level would double the work with each.
func TestNestedUnionsAreComparedOnce(t *testing.T) {
	t.Parallel()
	nest := func(inner string) string {
		typ := inner
		for i := range 40 {
			typ = fmt.Sprintf(`["null",{"type":"record","name":"N%d","fields":[{"name":"n","type":%s}]}]`, i, typ)
		}
		return field(typ)
	}
	problems := Unreadable(mustParse(nest(`"int"`)), mustParse(nest(`"string"`)))
	if len(problems) != 1 || problems[0].Rule != RuleType || strings.Count(problems[0].Path, ".n") != 40 {
		t.Errorf("%v", problems)
	}
}
