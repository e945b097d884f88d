package schemas

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Each vector is read as it is described.
func TestGoldenDecodes(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	codec := g.codec(t)
	for _, v := range g.Vectors {
		rec := v.record(t)
		v.checkHeaders(t, g, rec)
		name, payload, err := codec.DecodeAny(t.Context(), rec.Value)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if got, want := canonical(t, payload), canonical(t, v.Read.Payload); got != want {
			t.Errorf("%s: payload %s\ninstead of %s", v.Name, got, want)
		}
		into := newGoldenType(name)
		if err := codec.Decode(t.Context(), rec.Value, into, MessageType(into.Schema())); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if v.isLedger() {
			marks, err := DecodeMarks(t.Context(), codec, rec.Value)
			if want := goldenMarks()[v.Name]; err != nil || !slices.EqualFunc(marks, want, sameMark) {
				t.Errorf("%s: marks %+v, %v\ninstead of %+v", v.Name, marks, err, want)
			}
			checkEachMark(t, codec, rec.Value)
		}
	}
}

func sameMark(a, b streaming.Mark) bool { return reflect.DeepEqual(a, b) }

// A reader with the newer version of a schema has its default where the older
// one has no field.
func TestGoldenOlderSchema(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	got := goldenNote{Urgency: new(int32)}
	err := g.codec(t).Decode(t.Context(), unhex(t, g.vector(t, "older-schema").Value), &got, "test.note")
	if want := (goldenNote{Text: "older", Tags: []string{"x", "y"}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// checkHeaders reads what the headers say.
func (v *goldenVector) checkHeaders(t *testing.T, g *golden, rec *streaming.Record) {
	t.Helper()
	if v.Read.Original != "" {
		original := g.vector(t, v.Read.Original).record(t)
		headers, hop, ok, err := SplitHop(rec.Headers)
		if err != nil || !ok || !reflect.DeepEqual(hop, v.hop(t)) {
			t.Errorf("%s: hop data %+v, %v, %v", v.Name, hop, ok, err)
		}
		if !reflect.DeepEqual(headers, original.Headers) || !bytes.Equal(rec.Key, original.Key) || !bytes.Equal(rec.Value, original.Value) {
			t.Errorf("%s: not the key, value and headers of %s", v.Name, v.Read.Original)
		}
		rec.Headers = headers
	}
	if v.Read.Envelope == nil {
		if len(rec.Headers) > 0 || rec.Key != nil {
			t.Errorf("%s: a key or headers that are not described", v.Name)
		}
		return
	}
	if env, err := DecodeEnvelope(rec); err != nil || !reflect.DeepEqual(env, v.envelope(t)) {
		t.Errorf("%s: envelope %+v, %v\ninstead of %+v", v.Name, env, err, v.envelope(t))
	}
	if got := v.ledgerKey(t); got != v.Read.LedgerKey {
		t.Errorf("%s: ledger key %s instead of %s", v.Name, got, v.Read.LedgerKey)
	}
}

func (v *goldenVector) envelope(t *testing.T) (env streaming.Envelope) {
	t.Helper()
	unmarshalStrictly(t, v.Read.Envelope, &env)
	return env
}

func (v *goldenVector) hop(t *testing.T) (hop streaming.Hop) {
	t.Helper()
	unmarshalStrictly(t, v.Read.Hop, &hop)
	return hop
}

// ledgerKey is the message's ID in marks.
func (v *goldenVector) ledgerKey(t *testing.T) string {
	t.Helper()
	if v.Read.Envelope == nil {
		return ""
	}
	env := v.envelope(t)
	id := streaming.HashID(env.Source, env.ID)
	return hex.EncodeToString(id[:])
}

// canonical is a value's JSON with its fields in order.
func canonical(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a long has more digits than a double
	var ordered any
	if err := dec.Decode(&ordered); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(ordered); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goldenMarks are the ledger's vectors as the platform has them.
func goldenMarks() map[string][]streaming.Mark {
	at := time.UnixMilli(1700000000123).UTC()
	const input, tier = "parley.inbox.triage", "parley.inbox.triage.retry-10s.triage"
	id := func(last string) string { return "018bcfe5-687b-7000-8000-0000000000" + last }
	stop, request, every := streaming.HashID("feed", id("05")), streaming.HashID("feed", id("06")), streaming.HashID("feed", id("09"))
	marks := []streaming.Mark{
		{Kind: streaming.MarkDone, ID: stop, Attempts: 1, Offset: 41, Origin: 41, Epoch: 7, Time: at},
		{Kind: streaming.MarkDead, ID: every, Moves: 2, Attempts: 5, Log: tier, Offset: 1 << 40, Origin: 40, Epoch: 7, Time: at},
		{Kind: streaming.MarkClaim, Time: at},
	}
	return map[string][]streaming.Mark{
		"ledger-marks": marks, "ledger-older": marks, "ledger-empty": nil,
		"ledger-checkpoint": {{Kind: streaming.MarkCheckpoint, Epoch: 7, Time: at, Checkpoint: &streaming.Checkpoint{
			Ends: map[string]int64{input: 42}, Committed: map[string]int64{input: 41},
		}}},
		"ledger-all": {
			{Kind: streaming.MarkStep, ID: request, Origin: 42, Epoch: 7, Time: at, Step: "depth", Result: []byte(`{"km":10}`)},
			{Kind: streaming.MarkBegun, ID: request, Origin: 42, Epoch: 7, Time: at},
			{Kind: streaming.MarkDone, ID: request, Attempts: 1, Offset: 42, Origin: 42, Epoch: 7, Time: at},
			{Kind: streaming.MarkRelease, Epoch: 7, Time: at},
			{Kind: streaming.MarkAnswer, ID: request, Answer: []*streaming.Record{{
				Topic: "parley.replies.feed", Partition: 3, Timestamp: at, Key: []byte(id("06")),
				Value:   []byte("\x00\x00\x00\x00\x04\n10 km\x02\nfinal\x00\x02\x80\x01"),
				Headers: []streaming.Header{header("ce_id", id("07")), header("ce_kind", "reply")},
			}}},
		},
	}
}
