package evolution

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
)

func version(t *testing.T, text string) Version {
	t.Helper()
	schema, err := schemas.ParseSchema(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return Version{Name: "old", Schema: schema}
}

func record(fields string) string {
	return `{"type":"record","name":"demo.R","parley.type":"r.made","fields":[` + fields + `]}`
}

func TestDifferencesAreListed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		old, new string
		want     []string
	}{
		{record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"int"}`), nil},
		{record(``), record(`{"name":"a","type":["null","int"],"default":null}`), []string{"+ a: field null | int, default null"}},
		{record(`{"name":"a","type":"string","default":"x"}`), record(``), []string{`- a: field string, default "x"`}},
		{record(`{"name":"a","type":"int"}`), record(`{"name":"b","aliases":["a"],"type":"long"}`), []string{"~ b: name a → b", "~ b: type int → long", "+ b: alias a"}},
		{record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"int","default":3,"doc":"A.","unit":"km","order":"ignore"}`), []string{"+ a: default 3", `+ a: doc "A."`, "~ a: sort order ascending → ignore", `+ a: property unit "km"`}},
		{record(`{"name":"a","type":"int","default":3,"unit":"km"}`), record(`{"name":"a","type":"int","default":4,"unit":"m"}`), []string{"~ a: default 3 → 4", `~ a: property unit "km" → "m"`}},
		{record(`{"name":"a","type":"int"},{"name":"b","type":"int"}`), record(`{"name":"b","type":"int"},{"name":"a","type":"int"}`), []string{"~ record: field order a, b → b, a"}},
		{record(``), strings.Replace(record(``), "r.made", "r.taken", 1), []string{`~ record: property parley.type "r.made" → "r.taken"`}},
		{record(``), strings.Replace(record(``), `demo.R",`, `demo.S","aliases":["R"],"doc":"D.",`, 1), []string{"~ record: name demo.R → demo.S", "+ record: alias demo.R", `+ record: doc "D."`}},
		{
			record(`{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B","C"]}}`),
			record(`{"name":"e","type":{"type":"enum","name":"E","symbols":["C","A","D"],"default":"A"}}`),
			[]string{"- e: symbol B", "+ e: symbol D", "~ e: symbol order A, C → C, A", "+ e: enum default A"},
		},
		{record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":["null","int"]}`), []string{"~ a: type int → null | int"}},
		{record(`{"name":"a","type":["null","int"]}`), record(`{"name":"a","type":["int","null","string"]}`), []string{"+ a: branch string", "~ a: branch order null, int → int, null"}},
		{record(`{"name":"a","type":["null","int","string"]}`), record(`{"name":"a","type":["null","int"]}`), []string{"- a: branch string"}},
		{
			record(`{"name":"a","type":{"type":"array","items":{"type":"map","values":"int"}}}`),
			record(`{"name":"a","type":{"type":"array","items":{"type":"map","values":"long"}}}`),
			[]string{"~ a[]{}: type int → long"},
		},
		{record(`{"name":"a","type":"long"}`), record(`{"name":"a","type":{"type":"long","logicalType":"timestamp-millis"}}`), []string{"~ a: type long → long (timestamp-millis)"}},
		{
			record(`{"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}`),
			record(`{"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}}`),
			[]string{"~ a: type bytes (decimal of 9 digits, scale 2) → bytes (decimal of 9 digits, scale 3)"},
		},
		{record(`{"name":"a","type":{"type":"fixed","name":"F","size":2}}`), record(`{"name":"a","type":{"type":"fixed","name":"F","size":3}}`), []string{"~ a: type fixed demo.F of 2 bytes → fixed demo.F of 3 bytes"}},
		{ // a record that holds itself, and one that stands twice
			record(`{"name":"next","type":["null","R"]},{"name":"x","type":{"type":"record","name":"P","fields":[{"name":"lat","type":"int"}]}},{"name":"y","type":"P"}`),
			record(`{"name":"next","type":["null","R"]},{"name":"x","type":{"type":"record","name":"P","fields":[{"name":"lat","type":"long"}]}},{"name":"y","type":"P"}`),
			[]string{"~ x.lat: type int → long"},
		},
	} {
		var got []string
		for _, change := range Diff(version(t, c.old), version(t, c.new)).Changes {
			got = append(got, change.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s\n%s:\n%q, want\n%q", c.old, c.new, got, c.want)
		}
	}
}

// What is not equal as text has a difference.
func TestNothingIsEqualThatIsNot(t *testing.T) {
	t.Parallel()
	texts := []string{
		record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"long"}`), record(`{"name":"a","type":"int","default":0}`),
		record(`{"name":"a","type":"int","doc":"x"}`), record(`{"name":"a","type":"int","x":1}`), record(`{"name":"b","type":"int"}`),
		record(`{"name":"a","type":{"type":"int","logicalType":"date"}}`), record(`{"name":"a","type":{"type":"int","x":1}}`),
		record(`{"name":"a","type":["null","int"]}`), record(`{"name":"a","type":["int","null"]}`), record(`{"name":"a","type":"int","aliases":["c"]}`),
	}
	for i, a := range texts {
		for j, b := range texts {
			if d := Diff(version(t, a), version(t, b)); (len(d.Changes) == 0) != (i == j) {
				t.Errorf("%s, %s: %v", a, b, d.Changes)
			}
		}
	}
}
