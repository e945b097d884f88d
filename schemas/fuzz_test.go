package schemas

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 2})
	f.Add([]byte{1})
	heap := watchHeap(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		defer heap.input(t)()
		id, payload, err := ParseFrame(value)
		if err != nil {
			wantReason(t, err, streaming.ReasonDecode)
			return
		}
		if !bytes.Equal(AppendFrame(nil, id, payload), value) {
			t.Fatalf("%x is framed as %x", value, AppendFrame(nil, id, payload))
		}
	})
}

// What is taken comes out the same when it is written and read again, and what
// is not taken breaks the contract.
func FuzzEnvelope(f *testing.F) {
	f.Add("ce_kind", []byte("event"), "parley-attempt", []byte("1"))
	f.Add("ce_time", []byte("2026-01-01T00:00:00+01:00"), "ce_route", []byte("a,b"))
	f.Add("ce_budget", []byte("usd=1"), "ce_replyto", []byte("t/1"))
	f.Add("parley-origin", []byte("t/1/2/3"), "parley-moves", []byte("1"))
	heap := watchHeap(f)
	f.Fuzz(func(t *testing.T, key1 string, value1 []byte, key2 string, value2 []byte) {
		defer heap.input(t)()
		headers := append([]streaming.Header{{Key: key1, Value: value1}, {Key: key2, Value: value2}}, minimalHeaders()...)
		if _, _, _, err := SplitHop(headers); err != nil {
			wantReason(t, err, streaming.ReasonContract)
		}
		env, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: headers})
		if err != nil {
			wantReason(t, err, streaming.ReasonContract)
			return
		}
		written := AppendEnvelope(nil, &env)
		again, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: written})
		if err != nil {
			t.Fatalf("%+v is written as %q: %v", env, written, err)
		}
		if !reflect.DeepEqual(written, AppendEnvelope(nil, &again)) {
			t.Fatalf("%+v comes back as %+v", env, again)
		}
	})
}

// Every payload decodes to a value that encodes and decodes to itself, or is
// refused for its own fault, whatever schema it claims.
func FuzzPayload(f *testing.F) {
	ctx := context.Background()
	registry := NewMemoryRegistry()
	codec := NewCodec(registry)
	sample := sampleEverything()
	value, err := codec.Encode(ctx, &sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	marks, err := EncodeMarks(ctx, codec, sampleMarks())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(marks)
	for _, v := range hostileVectors() {
		id, err := registry.ID(ctx, mustParse(v.schema))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(AppendFrame(nil, id, v.payload))
	}
	heap := watchHeap(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		defer heap.input(t)()
		if _, v, err := codec.DecodeAny(ctx, value); err == nil {
			if _, err := json.Marshal(v); err != nil {
				t.Fatalf("%v is not fit for JSON: %v", v, err)
			}
		}
		checkEachMark(t, codec, value)
		for _, into := range []Message{new(everything), new(LedgerEntry)} {
			err := codec.Decode(ctx, value, into, "")
			if err != nil {
				if _, ok := ErrorReason(err); !ok {
					t.Fatalf("error %v has no reason", err)
				}
				continue
			}
			again, err := codec.Encode(ctx, into)
			if err != nil {
				t.Fatalf("%+v does not encode: %v", into, err)
			}
			fresh := reflect.New(reflect.TypeOf(into).Elem()).Interface().(Message)
			if err := codec.Decode(ctx, again, fresh, ""); err != nil {
				t.Fatalf("%+v does not decode again: %v", into, err)
			}
			third, err := codec.Encode(ctx, fresh)
			// Maps have no order on the wire, so compare what needs none.
			if err != nil || len(third) != len(again) {
				t.Fatalf("%x becomes %x, %v", again, third, err)
			}
		}
	})
}

// Hop data that is taken comes out the same when it is written and read again,
// and the rest of the headers is untouched.
func FuzzHop(f *testing.F) {
	f.Add([]byte("1"), []byte("2"), []byte("3"), []byte("t/1/2/3"), []byte("handler"), []byte("text"), uint8(0))
	f.Add([]byte("1"), []byte("2"), []byte(""), []byte("t/1/2/-1"), []byte(""), []byte("\xff"), uint8(0xff))
	heap := watchHeap(f)
	f.Fuzz(func(t *testing.T, attempt, moves, due, origin, reason, text []byte, has uint8) {
		defer heap.input(t)()
		headers := minimalHeaders()
		before := len(headers)
		for i, h := range []streaming.Header{
			{Key: HeaderAttempt, Value: attempt},
			{Key: HeaderMoves, Value: moves},
			{Key: HeaderDue, Value: due},
			{Key: HeaderOrigin, Value: origin},
			{Key: HeaderReason, Value: reason},
			{Key: HeaderError, Value: text},
		} {
			if has>>i&1 == 0 { // most are there
				headers = append(headers, h)
			}
		}
		original, hop, ok, err := SplitHop(headers)
		if err != nil {
			wantReason(t, err, streaming.ReasonContract)
		}
		if !ok {
			return
		}
		if !reflect.DeepEqual(original, headers[:before]) {
			t.Fatalf("%q has become %q", headers[:before], original)
		}
		written := AppendHop(original, &hop)
		rest, again, ok, err := SplitHop(written)
		if err != nil || !ok || !reflect.DeepEqual(hop, again) || !reflect.DeepEqual(rest, original) {
			t.Fatalf("%+v is written as %q and comes back as %+v, %t, %v", hop, written, again, ok, err)
		}
	})
}

// What one version of a schema has written another reads as a value of its own, or
// refuses for the value's fault.
func FuzzResolve(f *testing.F) {
	codec := NewCodec(NewMemoryRegistry())
	type pair struct {
		plan *plan
		own  *walkPlan // of the reader's schema
	}
	var pairs []pair
	for i, c := range readChanges(f) {
		writer, reader := mustParse(field(string(c.Writer))), mustParse(field(string(c.Reader)))
		own, err := newWalkPlan(reader)
		if err != nil {
			f.Fatal(err)
		}
		pairs = append(pairs, pair{newPlan(planKey{writer: writer, reader: reader}), own})
		value, err := codec.EncodeJSON(0, writer, []byte(`{"f":`+string(c.Wrote)+`}`))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), value[frameSize:])
	}
	heap := watchHeap(f)
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		defer heap.input(t)()
		p := pairs[int(which)%len(pairs)]
		if p.plan.err != nil {
			return
		}
		var v any
		if err := codec.read(p.plan, payload, &v); err != nil {
			if _, ok := ErrorReason(err); !ok {
				t.Fatalf("error %v has no reason", err)
			}
			return
		}
		if p.plan.resolution == nil {
			return
		}
		read, problem := p.plan.resolution.rewrite(payload, &codec.limits)
		if problem == "" {
			problem = p.own.check(read, &codec.limits)
		}
		if problem != "" {
			t.Fatalf("%x is read as %x, which is no value of the reader's schema: %s", payload, read, problem)
		}
	})
}
