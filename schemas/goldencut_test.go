package schemas

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// maxTrail is the most bytes that are put behind a vector's value.
const maxTrail = 64

// trails are what is put there: what ends an array, what looks like more of the
// value, a number without an end, and the payload again.
func trails(value []byte) map[string][]byte {
	return map[string][]byte{
		"zeros": make([]byte, maxTrail), "ones": bytes.Repeat([]byte{2}, maxTrail), "0x80": bytes.Repeat([]byte{0x80}, maxTrail),
		"0xff": bytes.Repeat([]byte{0xff}, maxTrail), "the payload": bytes.Repeat(value[frameSize:], maxTrail)[:maxTrail],
	}
}

// No reader takes a value of which a part is missing, or behind which
// something stands, and none gives out a part of it.
func TestGoldenCutsAndTrailsAreRefused(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	codec := g.codec(t)
	cuts, trailing := 0, 0
	for _, v := range g.Vectors {
		value := unhex(t, v.Value)
		if !v.isLedger() {
			rec := v.record(t)
			rec.Value = value[:0]
			_, err := DecodeEnvelope(rec)
			wantReason(t, err, streaming.ReasonContract)
		}
		for n := range len(value) {
			refuseGolden(t, codec, v, fmt.Sprintf("cut to %d of %d", n, len(value)), value[:n:n])
			cuts++
		}
		for what, trail := range trails(value) {
			for n := 1; n <= maxTrail; n++ {
				refuseGolden(t, codec, v, fmt.Sprintf("followed by %d bytes of %s", n, what), append(bytes.Clone(value), trail[:n]...))
				trailing++
			}
		}
	}
	t.Logf("%d vectors, %d cuts, %d trails", len(g.Vectors), cuts, trailing)
}

// refuseGolden reads a value in each way that there is.
func refuseGolden(t *testing.T, codec *Codec, v *goldenVector, what string, value []byte) {
	t.Helper()
	refused := func(way string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s, %s: %s takes it", v.Name, what, way)
			return
		}
		wantReason(t, err, streaming.ReasonDecode)
	}
	_, got, err := codec.DecodeAny(t.Context(), value)
	refused("DecodeAny", err)
	if got != nil {
		t.Errorf("%s, %s: DecodeAny gives out %v", v.Name, what, got)
	}
	schema, err := codec.schemas.Schema(t.Context(), v.Schema)
	if err != nil {
		t.Fatal(err)
	}
	into := newGoldenType(FullName(schema))
	refused("Decode", codec.Decode(t.Context(), value, into, ""))
	if !reflect.ValueOf(into).Elem().IsZero() {
		t.Errorf("%s, %s: Decode gives out %+v", v.Name, what, into)
	}
	rec := v.record(t)
	rec.Value = value
	if c, ok, err := ParseControl(t.Context(), codec, rec); ok {
		refused("ParseControl", err)
		if c.Paused {
			t.Errorf("%s, %s: ParseControl gives out %+v", v.Name, what, c)
		}
	}
	if !v.isLedger() {
		return
	}
	marks, err := DecodeMarks(t.Context(), codec, value)
	refused("DecodeMarks", err)
	refused("EachMark", EachMark(t.Context(), codec, value, func(m *streaming.Mark) { marks = append(marks, *m) }))
	if len(marks) > 0 {
		t.Errorf("%s, %s: marks are given out: %+v", v.Name, what, marks)
	}
}
