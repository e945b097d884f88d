package schemas

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-c9b6dc07/parley/streaming"
)

func fullEnvelope() streaming.Envelope {
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	return streaming.Envelope{
		ID: "id-1", Source: "feed", Type: "quake.reported", Time: at(1700000000123), Recipient: "triage",
		Kind: streaming.KindCommand, CorrelationID: "c-1", CausationID: "cause", ReplyTo: "parley.replies.feed/3",
		Expiry: at(1700000001000), Hops: 7, Ack: streaming.AckHandled, DeliverAt: at(1700000000500),
		Sequence: 5, Last: true, Budget: "usd=1.5", Route: []string{"a", "b"},
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "k=v",
	}
}

func TestEnvelopeOnTheWire(t *testing.T) {
	t.Parallel()
	env := fullEnvelope()
	got := AppendEnvelope([]streaming.Header{header("x", "y")}, &env)
	want := []streaming.Header{
		header("x", "y"),
		header("parley-version", "1"), header("ce_specversion", "1.0"), header("ce_id", "id-1"),
		header("ce_source", "feed"), header("ce_type", "quake.reported"), header("ce_time", "2023-11-14T22:13:20.123Z"),
		header("ce_recipient", "triage"), header("ce_kind", "command"), header("ce_correlationid", "c-1"),
		header("ce_causationid", "cause"), header("ce_replyto", "parley.replies.feed/3"),
		header("ce_expirytime", "2023-11-14T22:13:21.000Z"), header("ce_hops", "7"), header("ce_ack", "handled"),
		header("ce_deliverat", "2023-11-14T22:13:20.500Z"), header("ce_sequence", "5"), header("ce_last", "true"),
		header("ce_budget", "usd=1.5"), header("ce_route", "a,b"), header("content-type", "application/avro"),
		header("traceparent", env.TraceParent), header("tracestate", "k=v"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	minimal := AppendEnvelope(nil, &streaming.Envelope{})
	wantMinimal := []streaming.Header{
		header("parley-version", "1"), header("ce_specversion", "1.0"), header("ce_hops", "0"),
		header("content-type", "application/avro"),
	}
	if !reflect.DeepEqual(minimal, wantMinimal) {
		t.Errorf("absent attributes are written: %q", minimal)
	}
}

// The zone of a time is the sender's own business.
func TestEnvelopeTimesAreUTC(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 3600)
	rec := streaming.Record{Value: []byte{0}, Headers: AppendEnvelope(nil, &streaming.Envelope{
		ID: "1", Source: "s", Type: "t", Time: time.Date(2026, 1, 1, 0, 30, 0, 0, zone),
	})}
	if v, _ := rec.Header("ce_time"); string(v) != "2025-12-31T23:30:00.000Z" {
		t.Errorf("ce_time is %s", v)
	}
	rec.Headers = append(minimalHeaders(), header("ce_time", "2026-01-01T00:30:00.123456789+01:00"))
	env, err := DecodeEnvelope(&rec)
	if want := time.Date(2025, 12, 31, 23, 30, 0, 123456789, time.UTC); err != nil || env.Time != want {
		t.Errorf("got %v, %v", env.Time, err)
	}
}

// A value that is given out must not change when more headers are appended.
func TestEnvelopeValuesAreApart(t *testing.T) { // not parallel: it counts allocations
	env := fullEnvelope()
	headers := AppendEnvelope(nil, &env)
	for i := range headers {
		_ = append(headers[i].Value, "!!!!"...)
	}
	if !reflect.DeepEqual(headers, AppendEnvelope(nil, &env)) {
		t.Errorf("values overlap: %q", headers)
	}
	if n := testing.AllocsPerRun(100, func() { headers = AppendEnvelope(headers[:0], &env) }); n > 2 { // what is formatted, and the route
		t.Errorf("%v allocations instead of 2", n)
	}
}

func minimalHeaders() []streaming.Header {
	return []streaming.Header{
		header("ce_specversion", "1.0"), header("ce_id", "1"), header("ce_source", "urn:x y"), header("ce_type", "a.b"),
	}
}

func TestDecodeEnvelopeDefaults(t *testing.T) {
	t.Parallel()
	want := streaming.Envelope{
		ID: "1", Source: "urn:x y", Type: "a.b", Kind: streaming.KindEvent, CorrelationID: "1", Hops: streaming.DefaultHops,
	}
	for name, more := range map[string][]streaming.Header{
		"nothing else":    nil,
		"unknown headers": {header("ce_colour", "red"), header("parley-novelty", "\xff"), header("Kind", "x"), header("", "x")},
		"empty values": {
			header("ce_kind", ""), header("ce_hops", ""), header("ce_time", ""), header("ce_route", ""), header("ce_ack", ""),
			header("parley-version", ""), header("content-type", ""),
			{Key: "ce_replyto"},
		},
		"hop data":            {header("parley-attempt", "x"), header("parley-moves", "y")},
		"media type variants": {header("content-type", "Application/AVRO ; charset=x")},
		"broken trace":        {header("traceparent", "\xff"), header("tracestate", "\xff")},
		"the first counts":    {header("ce_id", "2"), header("ce_source", "z"), header("ce_type", "!"), header("ce_specversion", "9")},
	} {
		got, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: append(minimalHeaders(), more...)})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	got, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: append(
		minimalHeaders(), header("ce_hops", "0"), header("ce_hops", "5"), header("ce_last", "false"), header("ce_last", "true"),
		header("ce_sequence", "0"), header("ce_sequence", "5"), header("ce_kind", "reply"), header("ce_kind", "ack"),
		header("ce_ack", "handled"), header("ce_ack", "delivered"), header("ce_route", "a"), header("ce_route", "b"),
		header("ce_budget", "a=1"), header("ce_budget", "b=2"), header("ce_time", "2026-01-01T00:00:00Z"), header("ce_time", "x"),
	)})
	if err != nil || got.Hops != 0 || got.Last || got.Sequence != 0 || got.Kind != streaming.KindReply ||
		got.Ack != streaming.AckHandled || got.Route[0] != "a" || got.Budget != "a=1" {
		t.Errorf("the first of two headers does not count: %+v, %v", got, err)
	}
}

func TestDecodeEnvelopeRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ key, value string }{
		{"parley-version", "2"},
		{"ce_specversion", "0.3"},
		{"ce_id", "\xff"},
		{"ce_source", "\xff"},
		{"ce_type", "a b"},
		{"ce_type", "a..b"},
		{"ce_time", "yesterday"},
		{"ce_time", "2026-13-01T00:00:00Z"},
		{"ce_time", "0001-01-01T00:00:00+00:01"},
		{"ce_time", "9999-12-31T23:59:59-00:01"},
		{"ce_time", "0000-01-01T00:00:00Z"},
		{"ce_recipient", "Triage"},
		{"ce_recipient", "\xff"},
		{"ce_kind", "evnt"},
		{"ce_kind", strings.Repeat("x", 1<<20)},
		{"ce_correlationid", "\xff"},
		{"ce_causationid", "\xff"},
		{"ce_replyto", "a/b"},
		{"ce_replyto", "/"},
		{"ce_expirytime", "1"},
		{"ce_hops", "-1"},
		{"ce_hops", "+1"},
		{"ce_hops", "1.5"},
		{"ce_hops", "2147483648"},
		{"ce_ack", "yes"},
		{"ce_deliverat", "x"},
		{"ce_sequence", "-1"},
		{"ce_last", "1"},
		{"ce_budget", "5"},
		{"ce_budget", "=5"},
		{"ce_budget", "usd="},
		{"ce_budget", "usd=-1"},
		{"ce_budget", "usd=NaN"},
		{"ce_budget", "usd=1e999"},
		{"ce_budget", "\xff=1"},
		{"ce_route", "a,,b"},
		{"ce_route", "a,B"},
		{"ce_route", strings.Repeat("a,", 300) + "a"},
		{"content-type", "application/json"},
		{"content-type", "application/cloudevents+json"},
	} {
		headers := append([]streaming.Header{header(tc.key, tc.value)}, minimalHeaders()...)
		env, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: headers})
		var contract *ContractError
		if !errors.As(err, &contract) || contract.Header != tc.key {
			t.Errorf("%s %.20q: %v", tc.key, tc.value, err)
			continue
		}
		wantReason(t, err, "contract")
		if len(err.Error()) > 2048 || !reflect.DeepEqual(env, streaming.Envelope{}) {
			t.Errorf("%s %.20q: error text of %d bytes, envelope %+v", tc.key, tc.value, len(err.Error()), env)
		}
	}
}

func TestDecodeEnvelopeRequires(t *testing.T) {
	t.Parallel()
	for i, missing := range minimalHeaders() {
		headers := minimalHeaders()
		headers[i].Value = nil
		_, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: headers})
		var contract *ContractError
		if !errors.As(err, &contract) || contract.Header != missing.Key {
			t.Errorf("without %s: %v", missing.Key, err)
		}
	}
	for _, value := range [][]byte{nil, {}} {
		_, err := DecodeEnvelope(&streaming.Record{Value: value, Headers: minimalHeaders()})
		var contract *ContractError
		if !errors.As(err, &contract) || contract.Header != "value" {
			t.Errorf("without a value: %v", err)
		}
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := drawEnvelope(t)
		got, err := DecodeEnvelope(&streaming.Record{Value: []byte{0}, Headers: AppendEnvelope(nil, &want)})
		if err != nil {
			t.Fatal(err)
		}
		if want.Kind == "" {
			want.Kind = streaming.KindEvent
		}
		if want.CorrelationID == "" {
			want.CorrelationID = want.ID
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v came back as %+v", want, got)
		}
	})
}

func drawEnvelope(t *rapid.T) streaming.Envelope {
	text := func(label string) string { return rapid.String().Draw(t, label) }
	required := func(label string) string { return rapid.StringN(1, 40, -1).Draw(t, label) }
	name := rapid.StringMatching(`[a-z0-9-]{1,20}`)
	maybe := func(label, expr string) string {
		return rapid.OneOf(rapid.Just(""), rapid.StringMatching(expr)).Draw(t, label)
	}
	at := func(label string) time.Time {
		ms := rapid.Int64Range(0, 1<<41).Draw(t, label)
		if ms == 0 {
			return time.Time{}
		}
		return time.UnixMilli(ms).UTC()
	}
	return streaming.Envelope{
		ID: required("id"), Source: required("source"), Type: rapid.StringMatching(`[a-zA-Z0-9_-]{1,9}(\.[a-z]{1,9}){0,3}`).Draw(t, "type"),
		Time: at("time"), Recipient: maybe("recipient", `[a-z0-9-]{1,20}`),
		Kind: rapid.SampledFrom([]streaming.Kind{
			"", streaming.KindEvent, streaming.KindIntent, streaming.KindStateDiff, streaming.KindCommand,
			streaming.KindRequest, streaming.KindReply, streaming.KindAck, streaming.KindError,
		}).Draw(t, "kind"),
		CorrelationID: text("correlation"), CausationID: text("causation"), ReplyTo: maybe("replyto", `[a-z.]{3,9}(/[0-9]{1,9})?`),
		Expiry: at("expiry"), Hops: rapid.IntRange(0, 1<<31-1).Draw(t, "hops"),
		Ack:       rapid.SampledFrom([]streaming.AckMode{"", streaming.AckDelivered, streaming.AckHandled}).Draw(t, "ack"),
		DeliverAt: at("deliverat"), Sequence: rapid.Int64Min(0).Draw(t, "sequence"), Last: rapid.Bool().Draw(t, "last"),
		Budget:      maybe("budget", `[a-z]{1,5}=[0-9]{1,5}(\.[0-9]{1,3})?`),
		Route:       rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(name, 1, 10)).Draw(t, "route"),
		TraceParent: text("traceparent"), TraceState: text("tracestate"),
	}
}

func TestTimesAreWrittenAsTheirLayoutSays(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		{},
		time.UnixMilli(0), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2026, 2, 3, 4, 5, 6, 7_890_000, time.FixedZone("", 3600)), time.Date(12345, 1, 2, 3, 4, 5, 0, time.UTC),
		time.Date(999, 10, 20, 13, 14, 15, 16e6, time.UTC), time.Date(-44, 3, 15, 12, 0, 0, 0, time.UTC),
	} {
		if got, want := string(appendTime(nil, at.UTC())), at.UTC().Format(timeFormat); got != want {
			t.Errorf("%v is written %s, want %s", at, got, want)
		}
	}
}
