package schemas

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	peer "github.com/twmb/avro"
)

// What DecodeAny shows EncodeJSON takes, and it is the same value: over random
// schemas with all types and logical types, and random values.
func TestShownIsTaken(t *testing.T) {
	zone := time.Local
	t.Cleanup(func() { time.Local = zone })
	time.Local = time.UTC // see TestAgreesWithPeer
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	taken, same := 0, 0
	for i := range uint64(2000) {
		t1, s1 := shownIsTaken(t, seed+i)
		taken, same = taken+t1, same+s1
	}
	t.Logf("%d values taken, %d in as many bytes as they had; seed %d", taken, same, seed)
	if same < 4000 {
		t.Errorf("only %d values have been compared in full", same)
	}
}

func shownIsTaken(t *testing.T, seed uint64) (taken, same int) {
	t.Helper()
	s := newSchemaSource(seed, 0).root()
	schema, err := ParseSchema(s.text())
	if err != nil {
		t.Fatal(err)
	}
	writer, err := peer.Parse(s.text())
	if err != nil {
		t.Fatal(err)
	}
	codec := NewCodec(schemaList{schema})
	g := &valueSource{Rand: rand.New(rand.NewPCG(seed, 9))}
	for range 5 {
		payload, err := writer.Encode(g.draw(s))
		if err != nil {
			t.Fatal(err)
		}
		value := AppendFrame(nil, 0, payload)
		_, v, err := codec.DecodeAny(t.Context(), value)
		if err != nil {
			continue // over a limit
		}
		var theirs any
		if _, err := writer.Decode(payload, &theirs, peer.TaggedUnions()); err != nil {
			t.Fatal(err)
		}
		beyondADay, ambiguous := false, false
		eachPart(s, theirs, 0, func(s *shape, v any, _ int) {
			if d, ok := v.(time.Duration); ok {
				beyondADay = beyondADay || d < 0 || d >= 24*time.Hour
			}
			branches := 0
			for _, p := range s.parts {
				if p.kind != "null" {
					branches++
				}
			}
			ambiguous = ambiguous || s.kind == "union" && s.bare() && branches > 1
		})
		if beyondADay {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := codec.EncodeJSON(0, schema, text)
		if err != nil {
			t.Fatalf("seed %d: a value of %s is shown as %s, which is refused: %v", seed, s.text(), text, err)
		}
		taken++
		if ambiguous {
			continue
		}
		_, w, err := codec.DecodeAny(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		if shownAgain, err := json.Marshal(w); err != nil || !bytes.Equal(text, shownAgain) {
			t.Fatalf("seed %d: a value of %s is shown as %s, which becomes %s, %v", seed, s.text(), text, shownAgain, err)
		}
		if len(again) == len(value) { // a map has no order; the peer writes decimals of any length
			same++
		}
	}
	return taken, same
}
