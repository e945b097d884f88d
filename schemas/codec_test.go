package schemas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func mustParse(text string) avro.Schema {
	schema, err := ParseSchema(text)
	if err != nil {
		panic(err)
	}
	return schema
}

// everything has each of Avro's types and the logical types, as the generator
// would write it.
type everything struct {
	B    bool                 `avro:"b"`
	I    int32                `avro:"i"`
	L    int64                `avro:"l"`
	F    float32              `avro:"f"`
	D    float64              `avro:"d"`
	Y    []byte               `avro:"y"`
	S    string               `avro:"s"`
	E    string               `avro:"e"`
	X    [4]byte              `avro:"x"`
	A    []int64              `avro:"a"`
	M    map[string]float64   `avro:"m"`
	U    *string              `avro:"u"`
	V    any                  `avro:"v"`
	R    point                `avro:"r"`
	Rs   []point              `avro:"rs"`
	Dec  *big.Rat             `avro:"dec"`
	Ts   time.Time            `avro:"ts"`
	Us   time.Time            `avro:"us"`
	Date time.Time            `avro:"date"`
	Uuid string               `avro:"uuid"`
	Dur  avro.LogicalDuration `avro:"dur"`
	Tree *tree                `avro:"tree"`
}

type point struct {
	X int32 `avro:"x"`
}

type tree struct {
	Left *tree `avro:"left"`
	V    int32 `avro:"v"`
}

const everythingText = `{"type":"record","name":"test.Everything","parley.type":"test.everything","fields":[
	{"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"f","type":"float"},
	{"name":"d","type":"double"},{"name":"y","type":"bytes"},{"name":"s","type":"string"},
	{"name":"e","type":{"type":"enum","name":"E","symbols":["P","Q"]}},
	{"name":"x","type":{"type":"fixed","name":"X","size":4}},
	{"name":"a","type":{"type":"array","items":"long"}},
	{"name":"m","type":{"type":"map","values":"double"}},
	{"name":"u","type":["null","string"]},
	{"name":"v","type":["null","long","string"]},
	{"name":"r","type":{"type":"record","name":"Point","fields":[{"name":"x","type":"int"}]}},
	{"name":"rs","type":{"type":"array","items":"Point"}},
	{"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
	{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"us","type":{"type":"long","logicalType":"timestamp-micros"}},
	{"name":"date","type":{"type":"int","logicalType":"date"}},
	{"name":"uuid","type":{"type":"string","logicalType":"uuid"}},
	{"name":"dur","type":{"type":"fixed","name":"Dur","size":12,"logicalType":"duration"}},
	{"name":"tree","type":["null",{"type":"record","name":"Tree","fields":[
		{"name":"left","type":["null","Tree"]},{"name":"v","type":"int"}]}]}
]}`

var everythingSchema = mustParse(everythingText)

func (everything) Schema() avro.Schema { return everythingSchema }

func sampleEverything() everything {
	u := "ünï"
	return everything{
		B: true, I: -5, L: 1 << 40, F: 1.5, D: -2.25, Y: []byte{0, 255}, S: "text", E: "Q", X: [4]byte{1, 2, 3, 4},
		A: []int64{1, -1, 300}, M: map[string]float64{"k": 1}, U: &u, V: int64(7), R: point{3}, Rs: []point{{1}, {2}},
		Dec: big.NewRat(12345, 100), Ts: time.UnixMilli(1700000000123).UTC(), Us: time.UnixMicro(1700000000123456).UTC(),
		Date: time.Unix(86400*19000, 0).UTC(), Uuid: "0190b5c2-7e1f-7a43-9d6e-3f1c2b4a5d6e",
		Dur: avro.LogicalDuration{Months: 1, Days: 2, Milliseconds: 3}, Tree: &tree{Left: &tree{V: 1}, V: 2},
	}
}

func TestCodecRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	want := sampleEverything()
	for _, v := range []Message{want, &want} {
		value, err := codec.Encode(ctx, v)
		if err != nil {
			t.Fatal(err)
		}
		got := everything{S: "left over", M: map[string]float64{"left over": 1}, A: make([]int64, 9)}
		if err := codec.Decode(ctx, value, &got, "test.everything"); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		// The result must not share memory with a buffer that a client reuses.
		clear(value)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the value changed with its bytes: %+v", got)
		}
	}
}

func TestCodecRoundTripRandom(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	rapid.Check(t, func(t *rapid.T) {
		want := sampleEverything()
		want.I = rapid.Int32().Draw(t, "i")
		want.L = rapid.Int64().Draw(t, "l")
		want.D = rapid.Float64().Draw(t, "d")
		want.S = rapid.String().Draw(t, "s")
		want.Y = rapid.SliceOf(rapid.Byte()).Draw(t, "y")
		want.A = rapid.SliceOfN(rapid.Int64(), 0, 300).Draw(t, "a")
		want.M = rapid.MapOf(rapid.String(), rapid.Float64()).Draw(t, "m")
		want.Rs = rapid.SliceOf(rapid.Custom(func(t *rapid.T) point { return point{rapid.Int32().Draw(t, "x")} })).Draw(t, "rs")
		if rapid.Bool().Draw(t, "null") {
			want.U, want.V, want.Tree = nil, nil, nil
		}
		value, err := codec.Encode(ctx, &want)
		if err != nil {
			t.Fatal(err)
		}
		var got everything
		if err := codec.Decode(ctx, value, &got, ""); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

// A value that was returned must not change when the next one is encoded.
func TestCodecEncodeGivesItsBytesAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	for range 100 {
		first, err := codec.Encode(ctx, Ack{Messageid: "first"})
		if err != nil {
			t.Fatal(err)
		}
		kept := bytes.Clone(first)
		if _, err := codec.Encode(ctx, Ack{Messageid: "other"}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, kept) {
			t.Fatalf("%x became %x", kept, first)
		}
	}
}

// Were the walk to let something through, the checks around the decoder would
// still refuse each cut and each trailing byte.
func TestDecoderIsTheSecondLine(t *testing.T) {
	t.Parallel()
	codec := NewCodec(NewMemoryRegistry())
	v := Ack{"0190b5c2", "feed", "handled"}
	value, err := codec.Encode(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	payload := append(value[frameSize:], 0)
	for n := range len(payload) + 1 {
		blind := newPlan(planKey{writer: v.Schema(), reader: v.Schema()})
		blind.walk = &walkPlan{op: opFixed, size: n}
		err := codec.read(blind, payload[:n], new(Ack))
		if (err == nil) != (n == len(payload)-1) {
			t.Errorf("%d of %d bytes: %v", n, len(payload)-1, err)
		}
	}
	// A panic of the decoder is an error, too.
	broken := newPlan(planKey{writer: v.Schema(), reader: v.Schema()})
	broken.read = nil
	wantReason(t, codec.read(broken, value[frameSize:], new(Ack)), streaming.ReasonDecode)
}

// What writers in other languages may produce is read as well: blocks
// with and without their size, several of them, and numbers of more bytes than
// they need.
func TestCodecReadsOtherForms(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	for _, tc := range []struct {
		typ     string
		payload []byte
		want    string
	}{
		{`{"type":"array","items":"long"}`, join(long(1), long(7), long(-2), long(2), long(8), long(9), long(0)), `{"f":[7,8,9]}`},
		{`{"type":"map","values":"long"}`, join(long(-1), long(3), long(1), []byte("k"), long(5), long(0)), `{"f":{"k":5}}`},
		{`"int"`, []byte{0x86, 0x80, 0}, `{"f":3}`},
		{`"long"`, []byte{0x86, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, `{"f":3}`},
		{`"int"`, long(math.MinInt32), `{"f":-2147483648}`},
		{`"long"`, long(math.MinInt64), `{"f":-9223372036854775808}`},
		{`"null"`, nil, `{"f":null}`},
		{`{"type":"long","logicalType":"timestamp-millis"}`, long(1 << 50), `{"f":"37648-05-06T22:07:22.624Z"}`},
		{`{"type":"long","logicalType":"time-micros"}`, long(math.MaxInt64 / 1000), `{"f":"2562047h47m16.854775s"}`},
		{`{"type":"long","logicalType":"time-micros"}`, long(-math.MaxInt64 / 1000), `{"f":"-2562047h47m16.854775s"}`},
		{`{"type":"array","items":"null"}`, join(long(2), long(0)), `{"f":[null,null]}`},
	} {
		id, err := registry.ID(ctx, mustParse(field(tc.typ)))
		if err != nil {
			t.Fatal(err)
		}
		_, v, err := codec.DecodeAny(ctx, AppendFrame(nil, id, tc.payload))
		if err != nil {
			t.Errorf("%s: %v", tc.typ, err)
			continue
		}
		if got, err := json.Marshal(v); err != nil || string(got) != tc.want {
			t.Errorf("%s of %x: got %s, %v, want %s", tc.typ, tc.payload, got, err, tc.want)
		}
	}
}

func TestWalkBoundsDecimals(t *testing.T) {
	t.Parallel()
	codec := NewCodec(NewMemoryRegistry())
	for _, precision := range []int{1, 2, 3, 9, 18, 19, 38} {
		bound := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil)
		inBytes, err := newWalkPlan(mustParse(fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":%d}`, precision)))
		if err != nil {
			t.Fatal(err)
		}
		inFixed, err := newWalkPlan(mustParse(fmt.Sprintf(
			`{"type":"fixed","name":"test.D","size":20,"logicalType":"decimal","precision":%d}`, precision)))
		if err != nil {
			t.Fatal(err)
		}
		for _, sign := range []int64{1, -1} {
			for _, step := range []int64{-2, -1, 0, 1} {
				n := new(big.Int).Add(bound, big.NewInt(step))
				n.Mul(n, big.NewInt(sign))
				// Two's complement in 20 bytes.
				wide := new(big.Int).And(n, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 160), big.NewInt(1))).FillBytes(make([]byte, 20))
				short := wide
				for len(short) > 1 && (short[0] == 0 && short[1] < 0x80 || short[0] == 0xff && short[1] >= 0x80) {
					short = short[1:]
				}
				for form, problem := range map[string]string{
					"fixed": inFixed.check(wide, &codec.limits),
					"wide":  inBytes.check(join(long(20), wide), &codec.limits),
					"short": inBytes.check(join(long(int64(len(short))), short), &codec.limits),
				} {
					if (problem == "") != (step < 0) {
						t.Errorf("precision %d, %s, %v: %q", precision, form, n, problem)
					}
				}
			}
		}
		if problem := inBytes.check(long(0), &codec.limits); problem != "" {
			t.Errorf("no bytes: %s", problem)
		}
	}
}

// The walk finds the end of a value by itself.
func TestWalkFindsTheEnd(t *testing.T) {
	t.Parallel()
	codec := NewCodec(NewMemoryRegistry())
	sample := sampleEverything()
	value, err := codec.Encode(context.Background(), &sample)
	if err != nil {
		t.Fatal(err)
	}
	walk, err := newWalkPlan(everythingSchema)
	if err != nil {
		t.Fatal(err)
	}
	payload := value[frameSize:]
	for n := range payload {
		if walk.check(payload[:n], &codec.limits) == "" {
			t.Errorf("cut to %d of %d: taken", n, len(payload))
		}
	}
	if walk.check(payload, &codec.limits) != "" || walk.check(append(payload, 0), &codec.limits) == "" {
		t.Error("the end is not where the value ends")
	}
}

// Each cut and each trailing byte is refused, and leaves nothing behind.
func TestCodecRefusesCutsAndTrails(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	sample := sampleEverything()
	entry := LedgerEntry{}
	for i, m := range sampleMarks() {
		entry.Marks = append(entry.Marks, LedgerMark{})
		if err := fromMark(&entry.Marks[i], &m); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []Message{&sample, &entry, Ack{"a", "b", "c"}, AgentStop{}, ErrorReply{"handler", "x"}} {
		value, err := codec.Encode(ctx, v)
		if err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(v)
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		refuse := func(what string, value []byte) {
			into := reflect.New(typ)
			err := codec.Decode(ctx, value, into.Interface(), "")
			if err == nil {
				t.Errorf("%s %s: taken", typ, what)
				return
			}
			wantReason(t, err, streaming.ReasonDecode)
			if !into.Elem().IsZero() {
				t.Errorf("%s %s: left %+v behind", typ, what, into.Elem())
			}
			if _, _, err := codec.DecodeAny(ctx, value); err == nil {
				t.Errorf("%s %s: taken by DecodeAny", typ, what)
			}
		}
		for n := range len(value) {
			refuse(fmt.Sprintf("cut to %d of %d", n, len(value)), value[:n])
		}
		for b := range 256 {
			refuse(fmt.Sprintf("with byte %d after it", b), append(bytes.Clone(value), byte(b)))
		}
		refuse("twice", append(bytes.Clone(value), value[5:]...))
	}
}

type hostileVector struct {
	name, schema string
	payload      []byte
	problem      string // what the walk says
}

func field(typ string) string {
	return `{"type":"record","name":"test.R","fields":[{"name":"f","type":` + typ + `}]}`
}

const emptyRecords = `{"type":"array","items":{"type":"record","name":"test.Empty","fields":[]}}`

func long(n int64) []byte {
	var b []byte
	for u := uint64(n)<<1 ^ uint64(n>>63); ; u >>= 7 {
		if u < 0x80 {
			return append(b, byte(u))
		}
		b = append(b, byte(u)|0x80)
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func hostileVectors() []hostileVector {
	deep := `"long"`
	for range 100 {
		deep = `{"type":"array","items":` + deep + `}`
	}
	nest := bytes.Repeat([]byte{2, 1}, 200) // one item each, left in a union's other branch
	return []hostileVector{
		{"array of longs in 4 bytes", field(`{"type":"array","items":"long"}`), long(1 << 26), "more items than bytes"},
		{"array count beyond the bytes", field(`{"type":"array","items":"long"}`), join(long(4), []byte{0, 0, 0}), "more items than bytes"},
		{"count of MinInt64", field(`{"type":"array","items":"long"}`), join(long(math.MinInt64), long(0), []byte{0}), "count is out of range"},
		{"count of MaxInt64", field(`{"type":"array","items":"long"}`), long(math.MaxInt64), "more items than bytes"},
		{"count of -MaxInt64", field(`{"type":"array","items":"long"}`), join(long(-math.MaxInt64), long(1), []byte{0}), "more items than bytes"},
		{"empty records", field(emptyRecords), join(long(1<<40), []byte{0}), "take no byte"},
		{"empty records in blocks", field(emptyRecords), join(bytes.Repeat(long(4096), 1000), []byte{0}), "take no byte"},
		{"nulls", field(`{"type":"array","items":"null"}`), join(long(1<<40), []byte{0}), "take no byte"},
		{"fixed of no bytes", field(`{"type":"array","items":{"type":"fixed","name":"test.F","size":0}}`), join(long(1<<40), []byte{0}), "take no byte"},
		{
			"arrays of empty records", field(`{"type":"array","items":` + emptyRecords + `}`),
			join(long(2), long(4096), []byte{0}, long(4096), []byte{0}, []byte{0}), "take no byte",
		},
		{"map count", field(`{"type":"map","values":"null"}`), join(long(1<<40), []byte{0}), "more items than bytes"},
		{"map count of MinInt64", field(`{"type":"map","values":"long"}`), join(long(math.MinInt64), long(0), []byte{0}), "count is out of range"},
		{"map key length", field(`{"type":"map","values":"long"}`), join(long(1), long(1<<40), []byte{0, 0}), "more than what is left"},
		{"map key not UTF-8", field(`{"type":"map","values":"long"}`), join(long(1), long(1), []byte{0xff, 0, 0}), "not UTF-8"},
		{"block size beyond the end", field(`{"type":"array","items":"long"}`), join(long(-1), long(9), []byte{0, 0}), "size is more than"},
		{"block size negative", field(`{"type":"array","items":"long"}`), join(long(-1), long(-1), []byte{0, 0}), "size is more than"},
		{"block size wrong", field(`{"type":"array","items":"long"}`), join(long(-1), long(2), []byte{0, 0}), "not that of its items"},
		{"string length", field(`"string"`), long(1 << 40), "more than what is left"},
		{"string length negative", field(`"string"`), long(-1), "is negative"},
		{"string length MinInt64", field(`"string"`), long(math.MinInt64), "is negative"},
		{"string not UTF-8", field(`"string"`), join(long(2), []byte{0xc3, 0x28}), "not UTF-8"},
		{"bytes length", field(`"bytes"`), long(1 << 30), "more than what is left"},
		{"bytes length negative", field(`"bytes"`), long(-2), "is negative"},
		{"boolean of 2", field(`"boolean"`), []byte{2}, "neither 0 nor 1"},
		{"int of 33 bits", field(`"int"`), long(1 << 31), "too large"},
		{"int without end", field(`"int"`), bytes.Repeat([]byte{0x80}, 6), "too large"},
		{"int of six bytes", field(`"int"`), []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}, "too large"},
		{"long of 65 bits", field(`"long"`), join(bytes.Repeat([]byte{0xff}, 9), []byte{2}), "too large"},
		{"long without end", field(`"long"`), bytes.Repeat([]byte{0xff}, 11), "too large"},
		{"enum symbol", field(`{"type":"enum","name":"test.E","symbols":["A"]}`), long(1), "no such symbol"},
		{"enum symbol negative", field(`{"type":"enum","name":"test.E","symbols":["A"]}`), long(-1), "no such symbol"},
		{"union branch", field(`["null","long"]`), long(2), "no such branch"},
		{"union branch negative", field(`["null","long"]`), long(-1), "no such branch"},
		{"union branch of 33 bits", field(`["null","long"]`), long(1 << 32), "too large"},
		{"time of day of 64 bits", field(`{"type":"long","logicalType":"time-micros"}`), long(math.MinInt64), "time of day is out of range"},
		{
			"time of day beyond a Duration", field(`{"type":"long","logicalType":"time-micros"}`),
			long(math.MaxInt64/1000 + 1), "time of day is out of range",
		},
		{
			"decimal of many digits", field(`{"type":"bytes","logicalType":"decimal","precision":9}`),
			join(long(1<<18), bytes.Repeat([]byte{0x55}, 1<<18)), "more digits",
		},
		{"large fixed", field(`{"type":"fixed","name":"test.F","size":1099511627776}`), []byte{0}, "cut off"},
		{"deep arrays", field(deep), bytes.Repeat([]byte{2}, 101), "too deep"},
		{"deep tree", field(`["null",{"type":"record","name":"test.T","fields":[{"name":"t","type":["null","test.T"]}]}]`), bytes.Repeat([]byte{2}, 500), "too deep"},
		{"record in itself", `{"type":"record","name":"test.S","fields":[{"name":"s","type":"test.S"}]}`, []byte{}, "too deep"},
		{"array of itself", `{"type":"record","name":"test.S","fields":[{"name":"s","type":{"type":"array","items":"test.S"}}]}`, nest, "too deep"},
	}
}

// Each vector is refused at once and for next to no memory.
func TestCodecRefusesHostileValues(t *testing.T) { // not parallel: it measures
	ctx := context.Background()
	for _, v := range hostileVectors() {
		registry := NewMemoryRegistry()
		codec := NewCodec(registry)
		schema := mustParse(v.schema)
		id, err := registry.ID(ctx, schema)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		// The walk alone has to see it: the decoder is the second line.
		walk, err := newWalkPlan(schema)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if problem := walk.check(v.payload, &codec.limits); !strings.Contains(problem, v.problem) {
			t.Errorf("%s: the walk says %q instead of %q", v.name, problem, v.problem)
		}
		value := AppendFrame(nil, id, v.payload)
		_, _, _ = codec.DecodeAny(ctx, AppendFrame(nil, id, nil)) // make the plan
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, _, err = codec.DecodeAny(ctx, value)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: taken", v.name)
			continue
		}
		wantReason(t, err, streaming.ReasonDecode)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 || took > time.Second {
			t.Errorf("%s: %d bytes, %s", v.name, grown, took)
		}
	}
}

func TestCodecLimits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	registry := NewMemoryRegistry()
	open := NewCodec(registry)
	sample := sampleEverything()
	value, err := open.Encode(ctx, &sample)
	if err != nil {
		t.Fatal(err)
	}
	for name, limits := range map[string]Limits{
		"bytes": {MaxBytes: len(value) - frameSize - 1}, "items": {MaxItems: 5}, "depth": {MaxDepth: 3},
	} {
		tight := NewCodec(registry, WithLimits(limits))
		wantReason(t, tight.Decode(ctx, value, new(everything), ""), streaming.ReasonDecode)
		if _, err := tight.Encode(ctx, &sample); err == nil {
			t.Errorf("%s: encodes what it cannot decode", name)
		}
	}
	fit := NewCodec(registry, WithLimits(Limits{MaxBytes: len(value) - frameSize, MaxItems: 6, MaxDepth: 6}))
	if err := fit.Decode(ctx, value, new(everything), ""); err != nil {
		t.Errorf("a value at the limits: %v", err)
	}
}

func TestCodecEncodeRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	bad := func(change func(*everything)) Message { v := sampleEverything(); change(&v); return &v }
	for name, v := range map[string]Message{
		"enum":       bad(func(v *everything) { v.E = "Z" }),
		"union":      bad(func(v *everything) { v.V = struct{}{} }),
		"not UTF-8":  bad(func(v *everything) { v.S = "\xff" }),
		"nil":        nil,
		"nil struct": (*everything)(nil),
		"decimal":    bad(func(v *everything) { v.Dec = nil }),
	} {
		value, err := codec.Encode(ctx, v)
		if err == nil || value != nil {
			t.Errorf("%s: encoded as %x", name, value)
		}
		if _, ok := ErrorReason(err); ok {
			t.Errorf("%s: a sender's mistake has a reason: %v", name, err)
		}
	}
	// A failure must not spoil what is pooled.
	sample := sampleEverything()
	value, err := codec.Encode(ctx, &sample)
	if err != nil || codec.Decode(ctx, value, new(everything), "") != nil {
		t.Errorf("after a failure: %v", err)
	}
}

func TestCodecDecodeNeedsAMessage(t *testing.T) {
	t.Parallel()
	codec := NewCodec(NewMemoryRegistry())
	for _, into := range []any{nil, everything{}, (*everything)(nil), new(string), new(any)} {
		err := codec.Decode(context.Background(), []byte{0, 0, 0, 0, 1}, into, "")
		if err == nil {
			t.Errorf("%T: taken", into)
		}
		if _, ok := ErrorReason(err); ok {
			t.Errorf("%T: a caller's mistake has a reason: %v", into, err)
		}
	}
}

func TestCodecWantType(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	stop, err := codec.Encode(ctx, AgentStop{Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for want, ok := range map[string]bool{"agent.stop": true, "": true, "agent.ack": false} {
		err := codec.Decode(ctx, stop, new(AgentStop), want)
		if (err == nil) != ok {
			t.Errorf("type %q: %v", want, err)
		}
		if !ok {
			wantReason(t, err, streaming.ReasonContract)
		}
	}
	// The wrong type is the better word where the schema does not fit either.
	wantReason(t, codec.Decode(ctx, stop, new(Ack), "agent.ack"), streaming.ReasonContract)
	wantReason(t, codec.Decode(ctx, stop, new(Ack), ""), streaming.ReasonSchema)
	// A schema without the property goes with any header.
	entry, err := codec.Encode(ctx, LedgerEntry{})
	if err != nil {
		t.Fatal(err)
	}
	if err := codec.Decode(ctx, entry, new(LedgerEntry), "any.type"); err != nil {
		t.Error(err)
	}
}

func TestCodecUnknownSchema(t *testing.T) {
	t.Parallel()
	codec := NewCodec(NewMemoryRegistry())
	wantReason(t, codec.Decode(context.Background(), AppendFrame(nil, 7, nil), new(Ack), ""), streaming.ReasonSchema)
	_, _, err := codec.DecodeAny(context.Background(), AppendFrame(nil, 7, nil))
	wantReason(t, err, streaming.ReasonSchema)
}

// reader is a type whose schema the test chooses.
type reader[T any] struct {
	F T `avro:"f"`
}

func (reader[T]) Schema() avro.Schema { return readerSchemas[reflect.TypeFor[T]()] }

type newer struct {
	A int64  `avro:"a"`
	B string `avro:"b"`
	E string `avro:"e"`
}

type two struct {
	A int32   `avro:"a"`
	B *string `avro:"b"`
}

var readerSchemas = map[reflect.Type]avro.Schema{
	reflect.TypeFor[newer](): mustParse(field(`{"type":"record","name":"N","aliases":["Old"],"fields":[
		{"name":"a","type":"long","aliases":["aa"]},{"name":"b","type":"string","default":"added"},
		{"name":"e","type":{"type":"enum","name":"E","symbols":["A","OTHER"],"default":"OTHER"}}]}`)),
	reflect.TypeFor[*string](): mustParse(field(`["null","string"]`)),
	reflect.TypeFor[two](): mustParse(field(`{"type":"record","name":"Two","fields":[
		{"name":"a","type":"int"},{"name":"b","type":["null","string"]}]}`)),
	reflect.TypeFor[int32](): mustParse(field(`"int"`)),
	reflect.TypeFor[*tree](): mustParse(field(`["null",{"type":"record","name":"Tree","fields":[
		{"name":"left","type":["null","Tree"]},{"name":"v","type":"int"}]}]`)),
}

func TestCodecResolvesVersions(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	// An older version: another name of a field, a narrower type, a field that
	// is gone, a symbol that is not known, and the new field missing.
	id, err := registry.ID(ctx, mustParse(field(`{"type":"record","name":"N","fields":[
		{"name":"gone","type":{"type":"array","items":"string"}},{"name":"aa","type":"int"},
		{"name":"e","type":{"type":"enum","name":"E","symbols":["A","GONE"]}}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	value := AppendFrame(nil, id, join(long(1), long(2), []byte("xy"), []byte{0}, long(-9), long(1)))
	var got reader[newer]
	for range 2 { // the second from the cache
		if err := codec.Decode(ctx, value, &got, ""); err != nil {
			t.Fatal(err)
		}
		if want := (newer{A: -9, B: "added", E: "OTHER"}); got.F != want {
			t.Errorf("got %+v, want %+v", got.F, want)
		}
	}
	for n := frameSize; n < len(value); n++ {
		wantReason(t, codec.Decode(ctx, value[:n], &got, ""), streaming.ReasonDecode)
	}
}

func TestCodecRefusesSchemasThatDoNotFit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	for _, tc := range []struct {
		name, writer string
		payload      []byte
		into         any
	}{
		{"huge decimal", field(`{"type":"bytes","logicalType":"decimal","precision":1000000000,"scale":1000000000}`), long(0), new(reader[int32])},
		{"narrowed", field(`"long"`), long(1), new(reader[int32])},
		{"other kind", field(`"string"`), long(0), new(reader[int32])},
	} {
		id, err := registry.ID(ctx, mustParse(tc.writer))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			err := codec.Decode(ctx, AppendFrame(nil, id, tc.payload), tc.into, "")
			if err == nil {
				t.Errorf("%s: taken", tc.name)
				break
			}
			wantReason(t, err, streaming.ReasonSchema)
			if v := reflect.ValueOf(tc.into).Elem(); !v.IsZero() {
				t.Errorf("%s: left %+v behind", tc.name, v)
			}
		}
	}
}

func TestDecodeAnyIsReadable(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	sample := sampleEverything()
	sample.D = math.Inf(-1)
	value, err := codec.Encode(ctx, &sample)
	if err != nil {
		t.Fatal(err)
	}
	name, v, err := codec.DecodeAny(ctx, value)
	if err != nil || name != "test.Everything" {
		t.Fatalf("%s, %v", name, err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"a":[1,-1,300],"b":true,"d":"-Inf","date":"2022-01-08T00:00:00Z","dec":"123.45",` +
		`"dur":{"Months":1,"Days":2,"Milliseconds":3},"e":"Q","f":1.5,"i":-5,"l":1099511627776,"m":{"k":1},"r":{"x":3},` +
		`"rs":[{"x":1},{"x":2}],"s":"text","tree":{"test.Tree":{"left":{"test.Tree":{"left":null,"v":1}},"v":2}},` +
		`"ts":"2023-11-14T22:13:20.123Z","u":"ünï","us":"2023-11-14T22:13:20.123456Z",` +
		`"uuid":"0190b5c2-7e1f-7a43-9d6e-3f1c2b4a5d6e","v":7,"x":"01020304","y":"0x00ff"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A local timestamp reads the same wherever the machine stands.
func TestDecodeAnyLocalTimestamp(t *testing.T) { // not parallel: it moves the machine
	zone := time.Local
	t.Cleanup(func() { time.Local = zone })
	codec := NewCodec(oneSchema{mustParse(`{"type":"long","logicalType":"local-timestamp-micros"}`)})
	for _, hours := range []int{-9, 0, 2} {
		time.Local = time.FixedZone("", hours*3600)
		for n, want := range map[int64]string{
			1700000000123456: `"2023-11-14T22:13:20.123456Z"`,
			1 << 60:          `"38504-08-17T21:30:06.846976Z"`,
		} {
			_, v, err := codec.DecodeAny(t.Context(), AppendFrame(nil, 1, long(n)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := json.Marshal(v); err != nil || string(got) != want {
				t.Errorf("%d at UTC%+d is %s, %v, want %s", n, hours, got, err, want)
			}
		}
	}
}

// A codec serves many goroutines; run with -race.
func TestCodecConcurrently(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	done := make(chan error)
	for g := range 8 {
		go func() {
			want := sampleEverything()
			want.S = strings.Repeat("x", g)
			var err error
			for range 200 {
				var value []byte
				if value, err = codec.Encode(ctx, &want); err != nil {
					break
				}
				var got everything
				if err = codec.Decode(ctx, value, &got, ""); err != nil {
					break
				}
				if got.S != want.S {
					err = fmt.Errorf("got %q", got.S)
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	codec := NewCodec(NewMemoryRegistry())
	v := &Ack{Messageid: "0190b5c2-7e1f-7a43-9d6e-3f1c2b4a5d6e", Source: "feed", Mode: "handled"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Encode(b.Context(), v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	codec := NewCodec(NewMemoryRegistry())
	value, err := codec.Encode(b.Context(), &Ack{Messageid: "0190b5c2-7e1f-7a43-9d6e-3f1c2b4a5d6e", Source: "feed", Mode: "handled"})
	if err != nil {
		b.Fatal(err)
	}
	var v Ack
	b.ReportAllocs()
	for b.Loop() {
		if err := codec.Decode(b.Context(), value, &v, "agent.ack"); err != nil {
			b.Fatal(err)
		}
	}
}
