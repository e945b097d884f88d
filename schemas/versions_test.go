package schemas

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// version is a version of a schema other than the one that is built in.
type version interface{ schema() avro.Schema }

type (
	entry1     struct{} // marks only
	entry2     struct{} // and steps
	entry3     struct{} // and begun and released
	entryLater struct{} // what a later version may have more
)

func (entry1) schema() avro.Schema     { return otherVersions["1"] }
func (entry2) schema() avro.Schema     { return otherVersions["2"] }
func (entry3) schema() avro.Schema     { return otherVersions["3"] }
func (entryLater) schema() avro.Schema { return otherVersions["later"] }

// entryAs is a ledger entry as a worker of another version writes and reads it.
type entryAs[V version] struct {
	Marks    []LedgerMark    `avro:"marks"`
	Steps    []LedgerStep    `avro:"steps"`
	Begun    []LedgerBegun   `avro:"begun"`
	Released []LedgerRelease `avro:"released"`
	Answers  []LedgerAnswer  `avro:"answers"`
}

func (entryAs[V]) Schema() avro.Schema {
	var v V
	return v.schema()
}

type controlLater struct {
	Group  string `avro:"group"`
	Paused bool   `avro:"paused"`
	Reason string `avro:"reason"`
	By     string `avro:"by"`
}

func (controlLater) Schema() avro.Schema { return otherVersions["control"] }

// otherVersions are schemas of the platform's own that workers of another version
// write: the former ones, as they were released, and later ones, with fields more.
var otherVersions = func() map[string]avro.Schema {
	all := map[string]avro.Schema{}
	for _, v := range []string{"1", "2", "3"} {
		text, err := os.ReadFile(filepath.Join("testdata", "ledger_entry", v+".avsc"))
		if err != nil {
			panic(err)
		}
		all[v] = mustParse(string(text))
	}
	all["later"] = later(LedgerEntry{}.Schema())
	all["control"] = later(AgentControl{}.Schema())
	return all
}()

// later is a schema with a new field in each of its records.
func later(schema avro.Schema) avro.Schema {
	text, err := SchemaText(schema)
	if err != nil {
		panic(err)
	}
	var tree any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		panic(err)
	}
	var add func(any)
	add = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				add(e)
			}
		case map[string]any:
			for _, e := range v {
				add(e)
			}
			if fields, ok := v["fields"].([]any); ok {
				v["fields"] = append(fields, map[string]any{"name": "later", "type": []any{"null", "string"}, "default": nil})
			}
		}
	}
	add(tree)
	out, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	return mustParse(string(out))
}

// In a rolling deploy of the platform itself, workers of two versions read each
// other's ledger: what the older does not know it passes over, and what it does
// not write is absent.
func TestLedgerEntriesOfOtherVersions(t *testing.T) {
	t.Parallel()
	t.Run("1", func(t *testing.T) {
		testLedgerEntryAs[entry1](t, streaming.MarkDone, streaming.MarkDead, streaming.MarkClaim, streaming.MarkCheckpoint)
	})
	t.Run("2", func(t *testing.T) {
		testLedgerEntryAs[entry2](t, streaming.MarkStep, streaming.MarkDone, streaming.MarkDead, streaming.MarkClaim, streaming.MarkCheckpoint)
	})
	t.Run("3", func(t *testing.T) {
		testLedgerEntryAs[entry3](t, streaming.MarkStep, streaming.MarkBegun, streaming.MarkDone, streaming.MarkDead, streaming.MarkClaim,
			streaming.MarkCheckpoint, streaming.MarkRelease)
	})
	t.Run("later", func(t *testing.T) {
		testLedgerEntryAs[entryLater](t, streaming.MarkStep, streaming.MarkBegun, streaming.MarkDone, streaming.MarkDead, streaming.MarkClaim,
			streaming.MarkCheckpoint, streaming.MarkRelease, streaming.MarkAnswer)
	})
}

// testLedgerEntryAs is told the kinds of marks that the other version has.
func testLedgerEntryAs[V version](t *testing.T, kinds ...streaming.MarkKind) {
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	var other entryAs[V]
	for _, way := range [][2]avro.Schema{{other.Schema(), LedgerEntry{}.Schema()}, {LedgerEntry{}.Schema(), other.Schema()}} {
		if problems := Unreadable(way[0], way[1]); len(problems) > 0 {
			t.Errorf("%v", problems)
		}
	}
	at := time.UnixMilli(1700000000123).UTC()
	id := streaming.HashID("a", "b")
	all := append([]streaming.Mark{
		{Kind: streaming.MarkStep, ID: id, Origin: 3, Epoch: 2, Time: at, Step: "s", Result: []byte("result")},
		{Kind: streaming.MarkBegun, ID: id, Moves: 1, Origin: 3, Epoch: 2, Time: at},
	}, sampleMarks()...)
	all = append(all,
		streaming.Mark{Kind: streaming.MarkRelease, Epoch: 2, Time: at},
		streaming.Mark{Kind: streaming.MarkAnswer, ID: id, Answer: []*streaming.Record{{Topic: "t", Timestamp: at, Key: []byte("k"), Value: []byte("v")}}},
	)
	known := slices.DeleteFunc(slices.Clone(all), func(m streaming.Mark) bool { return !slices.Contains(kinds, m.Kind) })

	value, err := EncodeMarks(ctx, codec, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := codec.Decode(ctx, value, &other, ""); err != nil {
		t.Fatalf("the other version cannot read ours: %v", err)
	}
	if value, err = codec.Encode(ctx, other); err != nil {
		t.Fatal(err)
	}
	got, err := DecodeMarks(ctx, codec, value)
	if err != nil {
		t.Fatalf("the other version's cannot be read: %v", err)
	}
	if !reflect.DeepEqual(got, known) {
		t.Errorf("by way of the other version come\n%+v\ninstead of\n%+v", got, known)
	}
}

// A pause that a later version of the command asked for holds a worker of this
// one, and the other way round.
func TestControlOfALaterVersion(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	value, err := codec.Encode(ctx, controlLater{Group: "g", Paused: true, Reason: "r", By: "b"})
	if err != nil {
		t.Fatal(err)
	}
	c, ok, err := ParseControl(ctx, codec, &streaming.Record{Key: []byte(ControlKey("g")), Value: value})
	if err != nil || !ok || !c.Paused || c.Reason != "r" || c.By != "b" {
		t.Errorf("%+v, %t, %v", c, ok, err)
	}
	if value, err = codec.Encode(ctx, c.AgentControl); err != nil {
		t.Fatal(err)
	}
	var back controlLater
	if err := codec.Decode(ctx, value, &back, TypeAgentControl); err != nil || back != (controlLater{Group: "g", Paused: true, Reason: "r", By: "b"}) {
		t.Errorf("%+v, %v", back, err)
	}
}
