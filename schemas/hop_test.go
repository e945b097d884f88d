package schemas

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func header(key, value string) streaming.Header {
	return streaming.Header{Key: key, Value: []byte(value)}
}

func testHop() streaming.Hop {
	return streaming.Hop{
		Attempt: 2, Moves: 3, Due: 1700000000123,
		Origin: streaming.Origin{Topic: "parley.inbox.triage", Partition: 4, Offset: 99, Timestamp: time.UnixMilli(1700000000001).UTC()},
		Reason: streaming.ReasonHandler, Error: "no luck",
	}
}

func TestHopIsAFixedBlock(t *testing.T) {
	t.Parallel()
	hop := testHop()
	want := []streaming.Header{
		header("ce_id", "1"), header("parley-attempt", "2"), header("parley-moves", "3"),
		header("parley-due", "1700000000123"), header("parley-origin", "parley.inbox.triage/4/99/1700000000001"),
		header("parley-reason", "handler"), header("parley-error", "no luck"),
	}
	if got := AppendHop([]streaming.Header{header("ce_id", "1")}, &hop); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	bare := streaming.Hop{Origin: hop.Origin}
	if got := AppendHop(nil, &bare); len(got) != 3 {
		t.Errorf("unset hop data is written: %q", got)
	}
}

func TestHopRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z-]{1,20}`)
		// Headers of others may carry any key, hop data's too, and any bytes.
		key := rapid.OneOf(rapid.SampledFrom([]string{
			HeaderAttempt, HeaderMoves, HeaderDue, HeaderOrigin, HeaderReason, HeaderError, "ce_id",
		}), rapid.String())
		original := rapid.SliceOf(rapid.Custom(func(t *rapid.T) streaming.Header {
			return streaming.Header{Key: key.Draw(t, "key"), Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value")}
		})).Draw(t, "original")
		hop := streaming.Hop{
			Attempt: rapid.IntRange(0, 1<<31-1).Draw(t, "attempt"),
			Moves:   rapid.IntRange(0, 1<<31-1).Draw(t, "moves"),
			Due:     rapid.Int64Min(0).Draw(t, "due"),
			Origin: streaming.Origin{
				Topic: text.Draw(t, "topic"), Partition: rapid.Int32Min(0).Draw(t, "partition"),
				Offset:    rapid.Int64Min(0).Draw(t, "offset"),
				Timestamp: time.UnixMilli(rapid.Int64Range(-1, 1<<42).Draw(t, "timestamp")).UTC(),
			},
			Reason: rapid.SampledFrom(append(streaming.Reasons(), "")).Draw(t, "reason"),
			Error:  rapid.StringN(0, 100, 400).Draw(t, "error"),
		}
		headers := AppendHop(append([]streaming.Header(nil), original...), &hop)
		gotOriginal, gotHop, ok, err := SplitHop(headers)
		if err != nil || !ok {
			t.Fatalf("%v, %v", ok, err)
		}
		if !reflect.DeepEqual(gotHop, hop) {
			t.Fatalf("hop %+v came back as %+v", hop, gotHop)
		}
		if len(gotOriginal) != len(original) || len(original) > 0 && !reflect.DeepEqual(gotOriginal, original) {
			t.Fatalf("headers %q came back as %q", original, gotOriginal)
		}
	})
}

func TestSplitHopWithoutHop(t *testing.T) {
	t.Parallel()
	headers := []streaming.Header{header("ce_id", "1"), header("parley-origin", "x")}
	original, _, ok, err := SplitHop(headers)
	if ok || err != nil || len(original) != 2 {
		t.Errorf("got %q, %v, %v", original, ok, err)
	}
}

// An append to the original must not write over the hop data behind it.
func TestSplitHopOriginalIsApart(t *testing.T) {
	t.Parallel()
	hop := testHop()
	headers := AppendHop([]streaming.Header{header("ce_id", "1")}, &hop)
	original, _, _, err := SplitHop(headers)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(original, header("x", "y"))
	if headers[1].Key != HeaderAttempt {
		t.Errorf("hop data became %q", headers[1:])
	}
}

func TestSplitHopRefuses(t *testing.T) {
	t.Parallel()
	good := func() []streaming.Header { hop := testHop(); return AppendHop(nil, &hop) }
	for name, headers := range map[string][]streaming.Header{
		"nothing but attempt": good()[:1],
		"no origin":           good()[:3],
		"no moves":            {header(HeaderAttempt, "1"), header(HeaderOrigin, "t/0/0/0")},
		"bad attempt":         append([]streaming.Header{header(HeaderAttempt, "x")}, good()[1:]...),
		"negative attempt":    append([]streaming.Header{header(HeaderAttempt, "-1")}, good()[1:]...),
		"large attempt":       append([]streaming.Header{header(HeaderAttempt, "2147483648")}, good()[1:]...),
		"other at the end":    append(good(), header("ce_id", "1")),
		"reason twice":        append(good()[:5:5], header(HeaderReason, "panic")),
		"no partition":        {header(HeaderAttempt, "1"), header(HeaderMoves, "1"), header(HeaderOrigin, "t")},
		"no timestamp":        {header(HeaderAttempt, "1"), header(HeaderMoves, "1"), header(HeaderOrigin, "t/1/2")},
		"long origin":         {header(HeaderAttempt, "1"), header(HeaderMoves, "1"), header(HeaderOrigin, "t/1/2/3/4")},
		"no topic":            {header(HeaderAttempt, "1"), header(HeaderMoves, "1"), header(HeaderOrigin, "/1/2/3")},
		"negative offset":     {header(HeaderAttempt, "1"), header(HeaderMoves, "1"), header(HeaderOrigin, "t/1/-2/3")},
	} {
		original, _, ok, err := SplitHop(headers)
		if ok || len(original) != len(headers) {
			t.Errorf("%s: taken", name)
		}
		wantReason(t, err, "contract")
	}
}

func TestHopErrorTextIsBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("é", MaxErrorText), strings.Repeat("\xff", MaxErrorText+1), strings.Repeat("\xffa", MaxErrorText), "a" + strings.Repeat("火", MaxErrorText), "\xff",
	} {
		hop := testHop()
		hop.Error = text
		headers := AppendHop(nil, &hop)
		got := headers[len(headers)-1].Value
		if len(got) == 0 || len(got) > MaxErrorText || !utf8.Valid(got) {
			t.Errorf("%.10q gives %d bytes, valid %v", text, len(got), utf8.Valid(got))
		}
	}
}
