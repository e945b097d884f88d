package orders

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

type source struct{ *rand.Rand }

func (r source) text() string { return fmt.Sprintf("%x é", r.Uint32N(1<<uint(r.IntN(32)))) }

func (r source) bytes() []byte {
	b := make([]byte, r.IntN(5))
	for i := range b {
		b[i] = byte(r.Uint32()) | 1 // no text that begins with 0x
	}
	return b
}

// decimal has at most so many digits, of which so many stand after the point.
func (r source) decimal(digits, scale int) *big.Rat {
	limit := int64(math.Pow10(digits))
	return big.NewRat(r.Int64N(2*limit-1)-limit+1, int64(math.Pow10(scale)))
}

// at is a time from 1900 on, of a whole number of units.
func (r source) at(unit time.Duration) time.Time {
	return time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(200 * 365 * 24 * time.Hour)))).Truncate(unit)
}

func (r source) clock(unit time.Duration) time.Time {
	u := r.at(unit)
	return time.Date(u.Year(), u.Month(), u.Day(), u.Hour(), u.Minute(), u.Second(), u.Nanosecond(), time.Local)
}

func maybe[T any](r source, v T) *T {
	if r.IntN(2) == 0 {
		return nil
	}
	return &v
}

func many[T any](r source, make func() T) []T {
	var all []T
	for range r.IntN(4) {
		all = append(all, make())
	}
	return all
}

func table[T any](r source, make func() T) map[string]T {
	all := map[string]T{}
	for range r.IntN(4) {
		all[r.text()] = make()
	}
	return all
}

func (r source) money() Money {
	return Money{Amount: r.decimal(18, 2), Currency: []string{"OTHER", "EUR", "USD"}[r.IntN(3)]}
}

func (r source) line() Line { return Line{Item: r.text(), Price: maybe(r, r.money())} }

func (r source) tree(depth int) Tree {
	t := Tree{Name: r.text()}
	if depth > 0 {
		t.Below = many(r, func() Tree { return r.tree(depth - 1) })
	}
	return t
}

func (r source) order(depth int) OrderPlaced {
	o := OrderPlaced{
		ID: uuid.NewString(), Schema_: r.text(), Type: r.text(), Func: r.IntN(2) == 0, X1st: int32(r.Uint32()), Long: int64(r.Uint64()), Bytes: r.bytes(),
		Placed: r.at(time.Millisecond), Updated: r.at(time.Microsecond), Clock: r.clock(time.Millisecond), FineClock: r.clock(time.Microsecond),
		Due: r.at(24 * time.Hour), Opens: time.Duration(r.Int64N(86_400_000)) * time.Millisecond, Closes: time.Duration(r.Int64N(86_400_000_000)) * time.Microsecond,
		Term:  avro.LogicalDuration{Months: r.Uint32(), Days: r.Uint32(), Milliseconds: r.Uint32()},
		Total: r.money(), Fee: r.decimal(9, 4), Tax: r.decimal(12, 3), Rebate: maybe(r, r.decimal(9, 2)), Refund: maybe(r, r.decimal(12, 3)),
		Fees:   many(r, func() *big.Rat { return r.decimal(12, 3) }),
		Status: []string{"UNKNOWN", "NEW", "PAID"}[r.IntN(3)], Former: maybe(r, "PAID"), In: maybe(r, "EUR"),
		Tags: many(r, r.text), Counts: table(r, r.Int64), Lines: many(r, r.line), ByDay: table(r, func() []Line { return many(r, r.line) }),
		To: Address{Street: r.text(), At: maybe(r, Place{Lat: r.Float32(), Lon: r.NormFloat64()})}, Tree: r.tree(3),
		Note: maybe(r, r.text()), Blob: maybe(r, r.bytes()), Words: maybe(r, many(r, r.text)),
		Plain:   []any{nil, true, int(int32(r.Uint32())), r.Int64() | math.MinInt64, r.Float64(), r.text()}[r.IntN(6)],
		Logical: []any{nil, r.at(time.Microsecond), r.decimal(9, 2), r.text()}[r.IntN(4)],
		Named: []any{
			nil,
			map[string]any{"string": r.text()},
			map[string]any{"author.Line": map[string]any{"item": r.text(), "price": nil}},
			map[string]any{"author.money.Currency": "EUR"},
			map[string]any{"author.Hash": [16]byte{byte(r.Uint32())}},
			map[string]any{"array": []any{r.Int64()}},
		}[r.IntN(6)],
	}
	for i := range o.Hash {
		o.Hash[i], o.Trace[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	if depth > 0 {
		o.Parent = maybe(r, r.order(depth-1))
	}
	return o
}

// Random values come back, as Avro and as the JSON that the tools show and take.
func TestRoundTrip(t *testing.T) {
	ctx, codec := t.Context(), open(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := source{rand.New(rand.NewPCG(seed, 0))}
	for range 500 {
		want := r.order(2)
		value, err := codec.Encode(ctx, want)
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		var got OrderPlaced
		if err := codec.Decode(ctx, value, &got, "order.placed"); err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if d := differs("order", reflect.ValueOf(want), reflect.ValueOf(got)); d != "" {
			t.Fatalf("not what was written: %s", d)
		}
		_, shown, err := codec.DecodeAny(ctx, value)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(hexDurations(shown))
		if err != nil {
			t.Fatal(err)
		}
		id, _, err := schemas.ParseFrame(value)
		if err != nil {
			t.Fatal(err)
		}
		again, err := codec.EncodeJSON(id, want.Schema(), text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var back OrderPlaced
		if err := codec.Decode(ctx, again, &back, "order.placed"); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if d := differs("order", reflect.ValueOf(want), reflect.ValueOf(back)); d != "" {
			t.Fatalf("not what was written, by way of %s: %s", text, d)
		}
	}
	// What stands in another file is a message too, of the same schema.
	value, err := codec.Encode(ctx, Money{Amount: big.NewRat(5, 4), Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	if err := codec.Decode(ctx, value, new(Money), "money.moved"); err != nil {
		t.Fatal(err)
	}
}

// A struct may stand where a record is one of several branches.
func TestStructInUnion(t *testing.T) {
	ctx, codec := t.Context(), open(t)
	o := source{rand.New(rand.NewPCG(1, 1))}.order(0)
	o.Named = map[string]any{"author.Line": Line{Item: "a"}}
	o.Plain = "bare"
	value, err := codec.Encode(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	var got OrderPlaced
	if err := codec.Decode(ctx, value, &got, ""); err != nil {
		t.Fatal(err)
	}
	if line := got.Named.(map[string]any)["author.Line"].(map[string]any); line["item"] != "a" || got.Plain != "bare" {
		t.Errorf("%v, %v", got.Named, got.Plain)
	}
}

// TestWrite leaves a value for the next version of the schema.
func TestWrite(t *testing.T) {
	o := source{rand.New(rand.NewPCG(2, 2))}.order(1)
	o.ID, o.X1st, o.Status, o.Total.Currency = "0b0f7a7e-4f34-4f86-9d5e-4b7c4c5f3b1a", 7, "PAID", "USD"
	o.Named, o.Term = map[string]any{"author.Line": Line{Item: "kept"}}, avro.LogicalDuration{Months: 3}
	value, err := open(t).Encode(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("old.bin", value, 0o600); err != nil {
		t.Fatal(err)
	}
}
