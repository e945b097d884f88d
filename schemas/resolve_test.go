package schemas

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// changes are a writer's and a reader's type of one field, what the comparison says,
// and a value as it was written and is read. A value that cannot be read is "-".
var changes = []struct {
	name, writer, reader string
	rules                []Rule
	wrote, read          string
}{
	{"same", `"string"`, `"string"`, nil, `"x"`, `"x"`},
	{"int to long", `"int"`, `"long"`, nil, `-5`, `-5`},
	{"int to float", `"int"`, `"float"`, nil, `3`, `3`},
	{"int to double", `"int"`, `"double"`, nil, `-3`, `-3`},
	{"long to float", `"long"`, `"float"`, nil, `1024`, `1024`},
	{"long to double", `"long"`, `"double"`, nil, `1099511627776`, `1099511627776`},
	{"float to double", `"float"`, `"double"`, nil, `1.5`, `1.5`},
	{"string to bytes", `"string"`, `"bytes"`, nil, `"xy"`, `"xy"`},
	{"bytes to string", `"bytes"`, `"string"`, nil, `"0x7879"`, `"xy"`},
	{"bytes that are no string", `"bytes"`, `"string"`, nil, `"0xff"`, "-"},
	{"long to int", `"long"`, `"int"`, []Rule{RuleType}, `1`, "-"},
	{"double to float", `"double"`, `"float"`, []Rule{RuleType}, `1`, "-"},
	{"string to int", `"string"`, `"int"`, []Rule{RuleType}, `"1"`, "-"},
	{"int to string", `"int"`, `"string"`, []Rule{RuleType}, `1`, "-"},
	{"boolean to int", `"boolean"`, `"int"`, []Rule{RuleType}, `true`, "-"},
	{"string to array", `"string"`, `{"type":"array","items":"string"}`, []Rule{RuleType}, `"x"`, "-"},

	{"became optional", `"string"`, `["null","string"]`, nil, `"x"`, `"x"`},
	{"became optional and wider", `"int"`, `["null","long"]`, nil, `7`, `7`},
	{"no longer optional", `["null","string"]`, `"string"`, []Rule{RuleType}, `"x"`, `"x"`},
	{"no longer optional, and absent", `["null","string"]`, `"string"`, []Rule{RuleType}, `null`, "-"},
	{"union with a branch more", `["null","string"]`, `["null","string","int"]`, nil, `"x"`, `"x"`},
	{"union with a branch less", `["null","string","int"]`, `["null","string"]`, []Rule{RuleBranch}, `"x"`, `"x"`},
	{"union with a branch less, and used", `["null","string","int"]`, `["null","string"]`, []Rule{RuleBranch}, `{"int":3}`, "-"},
	{"union in another order", `["null","string"]`, `["string","null"]`, nil, `null`, `null`},
	{"the writer's own type before a wider one", `"int"`, `["long","int"]`, nil, `3`, `3`},
	{"no branch", `"boolean"`, `["null","string"]`, []Rule{RuleBranch}, `true`, "-"},

	{"array's items wider", `{"type":"array","items":"int"}`, `{"type":"array","items":"long"}`, nil, `[1,-2,3]`, `[1,-2,3]`},
	{"array's items narrower", `{"type":"array","items":"long"}`, `{"type":"array","items":"int"}`, []Rule{RuleType}, `[1]`, "-"},
	{"map's values wider", `{"type":"map","values":"int"}`, `{"type":"map","values":"double"}`, nil, `{"a":1}`, `{"a":1}`},
	{"map's values of another kind", `{"type":"map","values":"int"}`, `{"type":"map","values":"string"}`, []Rule{RuleType}, `{"a":1}`, "-"},

	{"enum with a symbol more", enum(`"A"`), enum(`"A","B"`), nil, `"A"`, `"A"`},
	{"enum in another order", enum(`"A","B"`), enum(`"B","A"`), nil, `"B"`, `"B"`},
	{"enum with a symbol less", enum(`"A","B"`), enum(`"A"`), []Rule{RuleSymbols}, `"A"`, `"A"`},
	{"enum with a symbol less, and used", enum(`"A","B"`), enum(`"A"`), []Rule{RuleSymbols}, `"B"`, "-"},
	{"enum with a default", enum(`"A","B"`), enum(`"A","C"],"default":"C","x":["x"`), nil, `"B"`, `"C"`},
	{"enum of another name", enum(`"A"`), strings.Replace(enum(`"A"`), `"E"`, `"F"`, 1), []Rule{RuleName}, `"A"`, "-"},
	{"enum with an alias", enum(`"A"`), `{"type":"enum","name":"F","aliases":["test.E"],"symbols":["A"]}`, nil, `"A"`, `"A"`},

	{"fixed", fixed(2), fixed(2), nil, `"0x0102"`, `"0102"`},
	{"fixed of another size", fixed(2), fixed(3), []Rule{RuleSize}, `"0x0102"`, "-"},
	{"fixed of another name", fixed(2), strings.Replace(fixed(2), `"X"`, `"Y"`, 1), []Rule{RuleName}, `"0x0102"`, "-"},

	{"field with a default", record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"int"},{"name":"b","type":"string","default":"d"}`), nil, `{"a":1}`, `{"a":1,"b":"d"}`},
	{"field with a default, before", record(`{"name":"a","type":"int"}`), record(`{"name":"b","type":["null","int"],"default":null},{"name":"a","type":"long"}`), nil, `{"a":1}`, `{"a":1,"b":null}`},
	{
		"field with a record for a default", record(`{"name":"a","type":"int"}`),
		record(`{"name":"a","type":"int"},{"name":"b","type":{"type":"record","name":"In","fields":[{"name":"x","type":"int"},{"name":"y","type":"string","default":"z"}]},"default":{"x":4}}`),
		nil, `{"a":1}`, `{"a":1,"b":{"x":4,"y":"z"}}`,
	},
	{"field with an array for a default", record(``), record(`{"name":"b","type":{"type":"array","items":"int"},"default":[1,2]}`), nil, `{}`, `{"b":[1,2]}`},
	{"field without a default", record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"int"},{"name":"b","type":"string"}`), []Rule{RuleDefault}, `{"a":1}`, "-"},
	{"field gone", record(`{"name":"a","type":"int"},{"name":"b","type":"string"}`), record(`{"name":"a","type":"int"}`), nil, `{"a":1,"b":"x"}`, `{"a":1}`},
	{"fields in another order", record(`{"name":"a","type":"int"},{"name":"b","type":"string"}`), record(`{"name":"b","type":"string"},{"name":"a","type":"int"}`), nil, `{"a":1,"b":"x"}`, `{"a":1,"b":"x"}`},
	{"field renamed with an alias", record(`{"name":"a","type":"int"}`), record(`{"name":"b","aliases":["a"],"type":"int"}`), nil, `{"a":1}`, `{"b":1}`},
	{"field renamed without an alias", record(`{"name":"a","type":"int"}`), record(`{"name":"b","type":"int"}`), []Rule{RuleDefault}, `{"a":1}`, "-"},
	{"record of another name", record(``), strings.Replace(record(``), "Rec", "Other", 1), []Rule{RuleName}, `{}`, "-"},
	{"record with an alias", record(``), `{"type":"record","name":"Other","aliases":["test.Rec"],"fields":[]}`, nil, `{}`, `{}`},
	{"two things at once", record(`{"name":"a","type":"long"}`), record(`{"name":"a","type":"int"},{"name":"b","type":"int"}`), []Rule{RuleType, RuleDefault}, `{"a":1}`, "-"},
	{"deep in an optional record", `["null",` + record(`{"name":"a","type":"long"}`) + `]`, `["null",` + record(`{"name":"a","type":"int"}`) + `]`, []Rule{RuleType}, `null`, `null`},
	{
		"recursive", nested(`{"name":"v","type":"int"}`), nested(`{"name":"v","type":"long"},{"name":"more","type":"int","default":9}`), nil,
		`{"left":{"left":null,"v":1},"v":2}`, `{"left":{"test.Tree":{"left":null,"more":9,"v":1}},"more":9,"v":2}`,
	},

	{"time to number", `{"type":"long","logicalType":"timestamp-millis"}`, `"long"`, nil, `1`, `1`},
	{"another unit of time", `{"type":"long","logicalType":"timestamp-millis"}`, `{"type":"long","logicalType":"timestamp-micros"}`, []Rule{RuleLogical}, `1`, "-"},
	{"more digits", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, `{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}`, nil, `"1.25"`, `"1.25"`},
	{"another scale", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, `{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}`, []Rule{RuleLogical}, `"1.25"`, "-"},
}

func enum(symbols string) string { return `{"type":"enum","name":"E","symbols":[` + symbols + `]}` }

func fixed(size int) string {
	return `{"type":"fixed","name":"X","size":` + string(rune('0'+size)) + `}`
}

func record(fields string) string { return `{"type":"record","name":"Rec","fields":[` + fields + `]}` }

func nested(fields string) string {
	return `{"type":"record","name":"Tree","fields":[{"name":"left","type":["null","Tree"]},` + fields + `]}`
}

func TestChangesAreJudgedAndRead(t *testing.T) {
	t.Parallel()
	limits := Limits{}.withDefaults()
	codec := NewCodec(NewMemoryRegistry())
	for _, c := range changes {
		writer, reader := mustParse(field(c.writer)), mustParse(field(c.reader))
		problems := Unreadable(reader, writer)
		var rules []Rule
		for _, p := range problems {
			rules = append(rules, p.Rule)
			if !strings.HasPrefix(p.Path, "f") || p.Problem == "" || p.Remedy == "" {
				t.Errorf("%s: %+v", c.name, p)
			}
		}
		if !slices.Equal(rules, c.rules) {
			t.Errorf("%s: %v breaks %v instead of %v", c.name, problems, rules, c.rules)
		}

		value, err := parseJSON([]byte(`{"f":` + c.wrote + `}`))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := appendJSON(nil, writer, value, "")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := "-"
		var v any
		if p := newPlan(planKey{writer: writer, reader: reader}); p.err == nil && codec.read(p, payload, &v) == nil {
			text, err := json.Marshal(plain(v).(map[string]any)["f"])
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
		}
		if got != c.read {
			t.Errorf("%s: %s is read as %s instead of %s", c.name, c.wrote, got, c.read)
		}
		if len(problems) == 0 && c.read != "-" || problems == nil {
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
