package schemas

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
)

const jsonTestSchema = `{"type":"record","name":"test.All","fields":[
 {"name":"b","type":"boolean","default":true},
 {"name":"i","type":"int","default":-3},
 {"name":"l","type":"long","default":4},
 {"name":"f","type":"float","default":1.5},
 {"name":"d","type":"double","default":2.5},
 {"name":"y","type":"bytes","default":"\u00ff"},
 {"name":"s","type":"string","default":"x"},
 {"name":"e","type":{"type":"enum","name":"test.E","symbols":["A","B"]},"default":"B"},
 {"name":"x","type":{"type":"fixed","name":"test.X","size":2},"default":"\u0001\u0002"},
 {"name":"a","type":{"type":"array","items":"long"},"default":[1,2]},
 {"name":"m","type":{"type":"map","values":"double"},"default":{}},
 {"name":"u","type":["null","string"],"default":null},
 {"name":"v","type":["string","null",{"type":"record","name":"test.P","fields":[{"name":"n","type":"int"}]},"long"],"default":"first"},
 {"name":"p","type":["null","test.P"],"default":null},
 {"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":5,"scale":2},"default":"\u0000"},
 {"name":"fix","type":{"type":"fixed","name":"test.D","size":4,"logicalType":"decimal","precision":5,"scale":2},"default":"\u0000\u0000\u0000\u0000"},
 {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"},"default":0},
 {"name":"us","type":{"type":"long","logicalType":"timestamp-micros"},"default":0},
 {"name":"day","type":{"type":"int","logicalType":"date"},"default":0},
 {"name":"tod","type":{"type":"int","logicalType":"time-millis"},"default":0},
 {"name":"dur","type":{"type":"fixed","name":"test.U","size":12,"logicalType":"duration"},"default":"\u0001\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000"}
]}`

// oneSchema has one schema, of ID 1.
type oneSchema struct{ schema avro.Schema }

func (o oneSchema) Schema(context.Context, int) (avro.Schema, error) { return o.schema, nil }
func (o oneSchema) ID(context.Context, avro.Schema) (int, error)     { return 1, nil }

// encodeThenShow returns the field of a value as DecodeAny shows it.
func encodeThenShow(t *testing.T, text string) (map[string]any, error) {
	t.Helper()
	schema := mustParse(jsonTestSchema)
	codec := NewCodec(oneSchema{schema})
	value, err := codec.EncodeJSON(1, schema, []byte(text))
	if err != nil {
		return nil, err
	}
	name, v, err := codec.DecodeAny(t.Context(), value)
	if err != nil {
		t.Fatalf("what %s became cannot be decoded: %v", text, err)
	}
	if name != "test.All" {
		t.Fatalf("schema %s", name)
	}
	// What is shown can be sent again, and is the same.
	shown, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	again, err := codec.EncodeJSON(1, schema, shown)
	if err != nil {
		t.Fatalf("%s is shown as %s, which is refused: %v", text, shown, err)
	}
	if string(again) != string(value) {
		t.Fatalf("%s is shown as %s, which becomes %x instead of %x", text, shown, again, value)
	}
	var m map[string]any
	if err := json.Unmarshal(shown, &m); err != nil {
		t.Fatal(err)
	}
	return m, nil
}

func TestEncodeJSONTakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, give, want string }{
		{"b", `false`, `false`},
		{"i", `-2147483648`, `-2147483648`},
		{"l", `9007199254740993`, `9007199254740992`}, // as JSON readers with doubles see it
		{"f", `0.5`, `0.5`},
		{"f", `"NaN"`, `"NaN"`},
		{"d", `-1e300`, `-1e300`},
		{"y", `"text"`, `"text"`},
		{"y", `"0xff00"`, `"0xff00"`},
		{"y", `"0x3078"`, `"0x3078"`}, // the text 0x
		{"s", `"ü"`, `"ü"`},
		{"e", `"A"`, `"A"`},
		{"x", `"0a0b"`, `"0a0b"`},
		{"a", `[]`, `[]`},
		{"a", `[3,-4]`, `[3,-4]`},
		{"m", `{"k":1}`, `{"k":1}`}, // more would come in any order
		{"u", `null`, `null`},
		{"u", `"v"`, `"v"`},
		{"u", `{"string":"v"}`, `"v"`},
		{"v", `null`, `null`},
		{"v", `7`, `{"long":7}`},
		{"v", `{"n":1}`, `{"test.P":{"n":1}}`},
		{"v", `{"test.P":{"n":1}}`, `{"test.P":{"n":1}}`},
		{"p", `{"n":1}`, `{"test.P":{"n":1}}`},
		{"dec", `-1.28`, `"-1.28"`},
		{"dec", `"999.99"`, `"999.99"`},
		{"dec", `0`, `"0.00"`},
		{"fix", `-0.01`, `"-0.01"`},
		{"fix", `1.28`, `"1.28"`},
		{"ts", `"2026-11-22T01:02:03.004+01:00"`, `"2026-11-22T00:02:03.004Z"`},
		{"ts", `-1`, `"1969-12-31T23:59:59.999Z"`},
		{"us", `"2026-11-22T00:00:00.000001Z"`, `"2026-11-22T00:00:00.000001Z"`},
		{"day", `"2026-11-22"`, `"2026-11-22T00:00:00Z"`},
		{"tod", `"1h2m3.004s"`, `"1h2m3.004s"`},
		{"tod", `1`, `"1ms"`},
		{"dur", `{"Months":1,"Milliseconds":4294967295,"Days":0}`, `{"Days":0,"Milliseconds":4294967295,"Months":1}`},
		{"dur", `"010000000200000003000000"`, `{"Days":2,"Milliseconds":3,"Months":1}`},
		{"ts", `"12345-01-02T03:04:05.006Z"`, `"12345-01-02T03:04:05.006Z"`},
		{"ts", `"-0044-03-15T12:00:00Z"`, `"-0044-03-15T12:00:00Z"`},
		{"day", `"12000-02-29"`, `"12000-02-29T00:00:00Z"`},
	} {
		got, err := encodeThenShow(t, `{"`+c.field+`":`+c.give+`}`)
		if err != nil {
			t.Errorf("%s %s: %v", c.field, c.give, err)
			continue
		}
		var want any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(got[c.field])
		b, _ := json.Marshal(want)
		if c.field == "dec" || c.field == "fix" { // the number counts, not its zeros
			if strings.TrimRight(strings.Trim(string(a), `"`), "0.") == strings.TrimRight(strings.Trim(string(b), `"`), "0.") {
				continue
			}
		}
		if string(a) != string(b) {
			t.Errorf("%s %s is shown as %s, want %s", c.field, c.give, a, b)
		}
	}
}

func TestEncodeJSONFillsDefaults(t *testing.T) {
	t.Parallel()
	got, err := encodeThenShow(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"b": true, "i": -3.0, "l": 4.0, "f": 1.5, "d": 2.5, "y": "0xff", "s": "x", "e": "B", "x": "0102", "u": nil,
	} {
		if got[field] != want {
			t.Errorf("%s is %v, its default is %v", field, got[field], want)
		}
	}
}

func TestEncodeJSONRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ give, want string }{
		{``, "payload: the JSON text is empty or cut off"},
		{`{"b":tr`, "payload: the JSON text is"},
		{`{} {}`, "payload: the JSON text goes on after its value at byte 4"},
		{`{} x`, "payload: the JSON text goes on after its value"},
		{"{\"s\":\"\xff\"}", "payload: the JSON text is not UTF-8"},
		{`[]`, "payload: an array is not an object with the fields of test.All"},
		{`{"s":"a","s":"b"}`, "payload.s: stands twice"},
		{`{"nope":1}`, "payload.nope: there is no such field in test.All; it has b, i,"},
		{`{"b":1}`, "payload.b: 1 is not true or false"},
		{`{"i":2147483648}`, "payload.i: 2147483648 is not a whole number of 32 bits"},
		{`{"l":1.0}`, "payload.l: 1.0 is not a whole number of 64 bits"},
		{`{"l":"1"}`, `payload.l: "1" is not a whole number`},
		{`{"d":1e999}`, "payload.d: 1e999 is out of range"},
		{`{"s":null}`, "payload.s: null is not a string"},
		{`{"y":"0xzz"}`, `payload.y: "0xzz" is not hexadecimal after 0x`},
		{`{"e":"C"}`, `payload.e: "C" is not a symbol of test.E; it has A, B`},
		{`{"x":"00"}`, "payload.x: it has 1 bytes instead of 2"},
		{`{"a":[1,"2"]}`, `payload.a[1]: "2" is not a whole number`},
		{`{"m":{"k":true}}`, "payload.m.k: true is not a number"},
		{`{"u":1}`, "payload.u: 1 is not a string"},
		{`{"v":true}`, "payload.v: true fits no branch of the union: string, null, test.P, long"},
		{`{"p":{"n":"x"}}`, `payload.p.n: "x" is not a whole number`},
		{`{"p":{}}`, "payload.p.n: is missing, and test.P has no default for it"},
		{`{"dec":1.001}`, "payload.dec: 1.001 has more than 2 digits after the point"},
		{`{"dec":1000}`, "payload.dec: 1000 has 6 digits, allowed are 5"},
		{`{"dec":1e3}`, "payload.dec: a decimal is written as digits with a point"},
		{`{"ts":"2026-11-22T00:00:00.0001Z"}`, "is finer than 1ms"},
		{`{"ts":"yesterday"}`, `payload.ts: "yesterday" is not a time of RFC 3339`},
		{`{"day":"2026-13-01"}`, "is not a date such as 2006-01-02"},
		{`{"day":"9999999-01-01"}`, "is not a date such as 2006-01-02"},
		{`{"us":"400000-01-01T00:00:00Z"}`, `"400000-01-01T00:00:00Z" is out of range`},
		{`{"dur":{"Months":1,"Days":2}}`, "payload.dur: a duration is an object of the whole numbers"},
		{`{"dur":{"Months":1,"Days":2,"Milliseconds":-1}}`, "payload.dur: a duration is an object of the whole numbers"},
		{`{"tod":"25h"}`, "is not a time of day such as 1h30m"},
		{`{"a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, "nested too deep"},
	} {
		_, err := encodeThenShow(t, c.give)
		if _, ok := errors.AsType[*JSONError](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %q", c.give, err, c.want)
		}
	}
}

func FuzzEncodeJSON(f *testing.F) {
	f.Add(`{"a":[1],"v":{"test.P":{"n":1}},"dec":-1.28}`)
	f.Add(`{"ts":"2026-11-22T01:02:03.004Z","y":"0x00"}`)
	schema := mustParse(jsonTestSchema)
	codec := NewCodec(oneSchema{schema})
	heap := watchHeap(f)
	f.Fuzz(func(t *testing.T, text string) {
		defer heap.input(t)()
		value, err := codec.EncodeJSON(1, schema, []byte(text))
		if err != nil {
			return
		}
		if _, _, err := codec.DecodeAny(t.Context(), value); err != nil {
			t.Fatalf("%q became %x: %v", text, value, err)
		}
	})
}
