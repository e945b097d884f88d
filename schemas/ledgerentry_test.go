package schemas

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func sampleMarks() []streaming.Mark {
	at := time.UnixMilli(1700000000123).UTC()
	return []streaming.Mark{
		{Kind: streaming.MarkDone, ID: streaming.HashID("a", "b"), Attempts: 1, Offset: 12, Origin: 12, Epoch: 3, Time: at},
		{Kind: streaming.MarkDead, ID: streaming.HashID("a", "c"), Moves: 4, Attempts: 5, Log: "t.retry-1s.g", Offset: 1 << 40, Time: at},
		{Kind: streaming.MarkClaim, Time: at},
		{Kind: streaming.MarkCheckpoint, Time: at, Checkpoint: &streaming.Checkpoint{
			Ends: map[string]int64{"t": 5, "u": -1}, Committed: map[string]int64{},
		}},
	}
}

func TestMarksRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	offset := rapid.Int64()
	mark := rapid.Custom(func(t *rapid.T) streaming.Mark {
		m := streaming.Mark{
			Kind:  streaming.MarkKind(rapid.IntRange(1, 4).Draw(t, "kind")),
			ID:    streaming.HashID("s", rapid.String().Draw(t, "id")),
			Moves: rapid.IntRange(0, 1<<31-1).Draw(t, "moves"), Attempts: rapid.IntRange(0, 1<<31-1).Draw(t, "attempts"),
			Log: rapid.String().Draw(t, "log"), Offset: offset.Draw(t, "offset"), Origin: offset.Draw(t, "origin"),
			Epoch: offset.Draw(t, "epoch"), Time: time.UnixMilli(rapid.Int64Range(-1<<40, 1<<42).Draw(t, "time")).UTC(),
		}
		if rapid.Bool().Draw(t, "checkpoint") {
			m.Checkpoint = &streaming.Checkpoint{
				Ends:      rapid.MapOf(rapid.String(), offset).Draw(t, "ends"),
				Committed: rapid.MapOf(rapid.String(), offset).Draw(t, "committed"),
			}
		}
		return m
	})
	step := rapid.Custom(func(t *rapid.T) streaming.Mark {
		return streaming.Mark{
			Kind: streaming.MarkStep, ID: streaming.HashID("s", rapid.String().Draw(t, "id")),
			Origin: offset.Draw(t, "origin"), Epoch: offset.Draw(t, "epoch"), Time: time.UnixMilli(rapid.Int64Range(-1<<40, 1<<42).Draw(t, "time")).UTC(),
			Step: rapid.String().Draw(t, "step"), Result: rapid.SliceOf(rapid.Byte()).Draw(t, "result"),
		}
	})
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(-1<<40, 1<<42).Draw(t, "time")).UTC()
	})
	begun := rapid.Custom(func(t *rapid.T) streaming.Mark {
		return streaming.Mark{
			Kind: streaming.MarkBegun, ID: streaming.HashID("s", rapid.String().Draw(t, "id")), Moves: rapid.IntRange(0, 1<<31-1).Draw(t, "moves"),
			Origin: offset.Draw(t, "origin"), Epoch: offset.Draw(t, "epoch"), Time: at.Draw(t, "at"),
		}
	})
	release := rapid.Custom(func(t *rapid.T) streaming.Mark {
		return streaming.Mark{Kind: streaming.MarkRelease, Epoch: offset.Draw(t, "epoch"), Time: at.Draw(t, "at")}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := append(rapid.SliceOf(step).Draw(t, "steps"), rapid.SliceOf(begun).Draw(t, "begun")...)
		want = append(want, rapid.SliceOf(mark).Draw(t, "marks")...)
		want = append(want, rapid.SliceOf(release).Draw(t, "released")...)
		value, err := EncodeMarks(ctx, codec, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMarks(ctx, codec, value)
		if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v came back as %+v, %v", want, got, err)
		}
		checkEachMark(t, codec, value)
	})
}

// checkEachMark holds the quick way to the marks against the other.
func checkEachMark(t rapid.TB, codec *Codec, value []byte) {
	t.Helper()
	want, wantErr := DecodeMarks(context.Background(), codec, value)
	var got []streaming.Mark
	err := EachMark(context.Background(), codec, value, func(m *streaming.Mark) { got = append(got, *m) })
	if (err == nil) != (wantErr == nil) || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("one by one: %+v, %v; at once: %+v, %v", got, err, want, wantErr)
	}
}

func TestEachMarkAllocatesNothing(t *testing.T) {
	codec := NewCodec(NewMemoryRegistry())
	marks := make([]streaming.Mark, 100)
	for i := range marks {
		marks[i] = sampleMarks()[0]
	}
	value, err := EncodeMarks(t.Context(), codec, marks)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	allocs := testing.AllocsPerRun(100, func() {
		if err := EachMark(t.Context(), codec, value, func(*streaming.Mark) { n++ }); err != nil {
			t.Fatal(err)
		}
	})
	if n != 101*len(marks) || allocs > 2 { // of the entry, not of its marks
		t.Errorf("%d marks, %v allocations for %d of them", n, allocs, len(marks))
	}
}

// The schema before there were steps. A worker of that version in the same group
// must go on reading the marks, and its marks must be read.
const ledgerEntryWithoutSteps = `{"type":"record","name":"LedgerEntry","namespace":"parley","fields":[{"name":"marks","type":{"type":"array","items":{"type":"record","name":"LedgerMark","fields":[{"name":"kind","type":{"type":"enum","name":"LedgerMarkKind","symbols":["DONE","DEAD","CLAIM","CHECKPOINT"]}},{"name":"id","type":{"type":"fixed","name":"MessageKey","size":16}},{"name":"moves","type":"int"},{"name":"attempts","type":"int"},{"name":"log","type":"string"},{"name":"offset","type":"long"},{"name":"origin","type":"long"},{"name":"epoch","type":"long"},{"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"checkpoint","default":null,"type":["null",{"type":"record","name":"LedgerCheckpoint","fields":[{"name":"ends","type":{"type":"map","values":"long"}},{"name":"committed","type":{"type":"map","values":"long"}}]}]}]}}}]}`

type oldLedgerEntry struct {
	Marks []LedgerMark `avro:"marks"`
}

func (oldLedgerEntry) Schema() avro.Schema {
	return avro.MustParse(ledgerEntryWithoutSteps)
}

func TestMarksAreReadAcrossTheVersionThatBroughtSteps(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	marks := sampleMarks()
	old := oldLedgerEntry{Marks: make([]LedgerMark, len(marks))}
	for i := range marks {
		if err := fromMark(&old.Marks[i], &marks[i]); err != nil {
			t.Fatal(err)
		}
	}
	value, err := codec.Encode(ctx, old)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeMarks(ctx, codec, value)
	if err != nil || !reflect.DeepEqual(got, marks) {
		t.Errorf("marks of the old version came as %+v, %v", got, err)
	}

	step := streaming.Mark{Kind: streaming.MarkStep, Step: "pay", Result: []byte("{}")}
	if value, err = EncodeMarks(ctx, codec, append([]streaming.Mark{step}, marks...)); err != nil {
		t.Fatal(err)
	}
	var read oldLedgerEntry
	if err := codec.Decode(ctx, value, &read, ""); err != nil || !reflect.DeepEqual(read, old) {
		t.Errorf("to the old version the marks came as %+v, %v", read, err)
	}
}

// A mark is written for every message, so its size counts.
func TestMarkIsSmall(t *testing.T) {
	t.Parallel()
	m := sampleMarks()[0]
	m.Offset, m.Origin, m.Epoch = 1<<30, 1<<30, 1<<20
	one, err := EncodeMarks(context.Background(), NewCodec(NewMemoryRegistry()), []streaming.Mark{m})
	if err != nil || len(one) > 56 {
		t.Errorf("%d bytes, %v", len(one), err)
	}
}

func TestMarksRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	for name, m := range map[string]streaming.Mark{
		"no kind": {}, "unknown kind": {Kind: 9}, "negative moves": {Kind: 1, Moves: -1}, "large attempts": {Kind: 1, Attempts: 1 << 31},
	} {
		if _, err := EncodeMarks(ctx, codec, []streaming.Mark{m}); err == nil || !strings.HasPrefix(err.Error(), "encode mark 0: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	value, err := codec.Encode(ctx, LedgerEntry{Marks: []LedgerMark{{Kind: "DONE", Moves: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = DecodeMarks(ctx, codec, value)
	wantReason(t, err, streaming.ReasonDecode)
	_, err = DecodeMarks(ctx, codec, []byte{0, 0})
	wantReason(t, err, streaming.ReasonDecode)
}

func BenchmarkEncodeMarks(b *testing.B) {
	codec := NewCodec(NewMemoryRegistry())
	marks := make([]streaming.Mark, 1000)
	for i := range marks {
		marks[i] = sampleMarks()[0]
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeMarks(b.Context(), codec, marks); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEachMark(b *testing.B) {
	codec := NewCodec(NewMemoryRegistry())
	marks := make([]streaming.Mark, 1000)
	for i := range marks {
		marks[i] = sampleMarks()[0]
	}
	value, err := EncodeMarks(b.Context(), codec, marks)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := EachMark(b.Context(), codec, value, func(*streaming.Mark) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeMarks(b *testing.B) {
	codec := NewCodec(NewMemoryRegistry())
	marks := make([]streaming.Mark, 1000)
	for i := range marks {
		marks[i] = sampleMarks()[0]
	}
	value, err := EncodeMarks(b.Context(), codec, marks)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeMarks(b.Context(), codec, value); err != nil {
			b.Fatal(err)
		}
	}
}
