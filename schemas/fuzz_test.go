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
	f.Fuzz(func(t *testing.T, value []byte) {
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
	f.Fuzz(func(t *testing.T, key1 string, value1 []byte, key2 string, value2 []byte) {
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
	f.Fuzz(func(t *testing.T, value []byte) {
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
