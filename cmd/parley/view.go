package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// maxHex bounds the bytes of a value that a line shows.
const maxHex = 64

// recordView is a record as the commands show it; its JSON is what --json
// prints.
type recordView struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Key       *string   `json:"key"` // null: none; 0x… where it is not text

	Envelope *envelopeView `json:"envelope,omitempty"`
	Hop      *hopView      `json:"hop,omitempty"`

	Schema   string          `json:"schema,omitempty"`
	Payload  json.RawMessage `json:"payload,omitempty"`
	Problems []problemView   `json:"problems,omitempty"`
	Value    *bytesView      `json:"value,omitempty"` // where the payload cannot be shown

	headers []streaming.Header // the sender's own
	outage  error              // the registry gave no answer
}

// envelopeView has the contract's attributes under their CloudEvents names.
type envelopeView struct {
	ID            string   `json:"id"`
	Source        string   `json:"source"`
	Type          string   `json:"type"`
	Time          string   `json:"time,omitempty"`
	Recipient     string   `json:"recipient,omitempty"`
	Kind          string   `json:"kind,omitempty"`
	CorrelationID string   `json:"correlationid,omitempty"`
	CausationID   string   `json:"causationid,omitempty"`
	ReplyTo       string   `json:"replyto,omitempty"`
	Expiry        string   `json:"expirytime,omitempty"`
	Hops          *int     `json:"hops,omitempty"`
	Ack           string   `json:"ack,omitempty"`
	DeliverAt     string   `json:"deliverat,omitempty"`
	Sequence      int64    `json:"sequence,omitempty"`
	Last          bool     `json:"last,omitempty"`
	Budget        string   `json:"budget,omitempty"`
	Route         []string `json:"route,omitempty"`
	TraceParent   string   `json:"traceparent,omitempty"`
	TraceState    string   `json:"tracestate,omitempty"`
}

type hopView struct {
	Attempt int    `json:"attempt"`
	Moves   int    `json:"moves"`
	Due     string `json:"due,omitempty"`
	Origin  struct {
		Topic     string    `json:"topic"`
		Partition int32     `json:"partition"`
		Offset    int64     `json:"offset"`
		Timestamp time.Time `json:"timestamp"`
	} `json:"origin"`
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
}

type problemView struct {
	Reason  string `json:"reason,omitempty"` // of the closed set; empty where it is not the record's fault
	Problem string `json:"problem"`
}

type bytesView struct {
	Bytes int    `json:"bytes"`
	Hex   string `json:"hex"` // the first of them
}

// viewRecord decodes a record as far as it can be. A nil codec leaves the
// payload out.
func viewRecord(ctx context.Context, codec *schemas.Codec, rec *streaming.Record) *recordView {
	v := &recordView{
		Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp.UTC(),
		Key: textOrHex(rec.Key), headers: rec.Headers,
	}
	name := parseTopic(rec.Topic)
	if name.companion == companionDead && schemas.ParseRedriveNote(rec) != nil && json.Valid(rec.Value) {
		v.Schema, v.Payload = "note of a redrive", rec.Value
		return v
	}
	if name.companion == companionRetry || name.companion == companionDead {
		v.addHop(rec)
	}
	if name.companion != companionLedger {
		v.addEnvelope(rec)
	}
	if codec != nil && len(rec.Value) > 0 {
		v.addPayload(ctx, codec, rec.Value)
	}
	return v
}

func (v *recordView) problem(err error) {
	reason, _ := schemas.ErrorReason(err)
	v.Problems = append(v.Problems, problemView{string(reason), err.Error()})
}

func (v *recordView) addHop(rec *streaming.Record) {
	original, hop, ok, err := schemas.SplitHop(rec.Headers)
	switch {
	case err != nil:
		v.problem(err)
		return
	case !ok:
		v.problem(&schemas.ContractError{Header: schemas.HeaderAttempt, Problem: "is missing in a companion topic"})
		return
	}
	v.headers = original
	h := &hopView{Attempt: hop.Attempt, Moves: hop.Moves, Reason: string(hop.Reason), Error: hop.Error}
	if hop.Due > 0 {
		h.Due = stamp(time.UnixMilli(hop.Due))
	}
	h.Origin.Topic, h.Origin.Partition, h.Origin.Offset, h.Origin.Timestamp = hop.Origin.Topic, hop.Origin.Partition, hop.Origin.Offset, hop.Origin.Timestamp
	v.Hop = h
}

func (v *recordView) addEnvelope(rec *streaming.Record) {
	env, err := schemas.DecodeEnvelope(&streaming.Record{Value: rec.Value, Headers: v.headers})
	if err != nil {
		v.problem(err)
		v.Envelope = rawEnvelope(v.headers)
		return
	}
	v.Envelope = &envelopeView{
		ID: env.ID, Source: env.Source, Type: env.Type, Time: when(env.Time), Recipient: env.Recipient,
		Kind: string(env.Kind), CorrelationID: env.CorrelationID, CausationID: env.CausationID, ReplyTo: env.ReplyTo,
		Expiry: when(env.Expiry), Hops: &env.Hops, Ack: string(env.Ack), DeliverAt: when(env.DeliverAt),
		Sequence: env.Sequence, Last: env.Last, Budget: env.Budget, Route: env.Route,
		TraceParent: env.TraceParent, TraceState: env.TraceState,
	}
}

// rawEnvelope is what can be said of a message whose envelope breaks the
// contract: the headers that name it, as they stand.
func rawEnvelope(headers []streaming.Header) *envelopeView {
	rec := streaming.Record{Headers: headers}
	text := func(key string) string {
		b, ok := rec.Header(key)
		if !ok {
			return ""
		}
		return bounded(*textOrHex(append([]byte{}, b...)), 256)
	}
	return &envelopeView{ID: text(schemas.HeaderID), Source: text(schemas.HeaderSource), Type: text(schemas.HeaderType)}
}

func (v *recordView) addPayload(ctx context.Context, codec *schemas.Codec, value []byte) {
	name, payload, err := codec.DecodeAny(ctx, value)
	v.Schema = name
	if err == nil {
		v.Payload, err = json.Marshal(payload)
	}
	if err == nil {
		return
	}
	if _, ok := errors.AsType[*schemas.RegistryUnavailableError](err); ok {
		v.outage = err
	}
	v.problem(err)
	v.Value = &bytesView{Bytes: len(value), Hex: hex.EncodeToString(value[:min(len(value), maxHex)])}
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}

// textOrHex is nil for no key.
func textOrHex(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	if !utf8.ValidString(s) {
		s = "0x" + hex.EncodeToString(b)
	}
	return &s
}

// lines is the record for people: one line, and below it, indented, its payload,
// its hop data and what is wrong with it.
func (v *recordView) lines() string {
	var b strings.Builder
	word := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, "  "+format, args...) }
	b.WriteString(stamp(v.Timestamp))
	if e := v.Envelope; e != nil {
		word("%s", orDash(e.Type))
		if e.Kind != "" {
			word("%s", e.Kind)
		}
		if e.Recipient != "" {
			word("%s → %s", orDash(e.Source), safe(e.Recipient))
		} else {
			word("%s", orDash(e.Source))
		}
		word("id=%s", orDash(e.ID))
		if e.CorrelationID != "" {
			word("conversation=%s", safe(e.CorrelationID))
		}
	}
	if v.Key != nil {
		word("key=%s", safe(*v.Key))
	}
	word("%s/%d/%d\n", v.Topic, v.Partition, v.Offset)
	if v.Payload != nil {
		word("  %s\n", safe(string(v.Payload)))
	}
	if h := v.Hop; h != nil {
		word("  %s\n", safe(h.line()))
	}
	for _, p := range v.Problems {
		if p.Reason != "" {
			word("  unreadable (%s): %s\n", p.Reason, safe(p.Problem))
		} else {
			word("  %s\n", safe(p.Problem))
		}
	}
	if v.Value != nil {
		word("  %s\n", v.Value)
	}
	return b.String()
}

func (h *hopView) line() string {
	s := fmt.Sprintf("attempt %d, move %d, origin %s/%d/%d", h.Attempt, h.Moves, h.Origin.Topic, h.Origin.Partition, h.Origin.Offset)
	if h.Due != "" {
		s += ", due " + h.Due
	}
	if h.Reason != "" {
		s += ", " + h.Reason
	}
	if h.Error != "" {
		s += ": " + firstLine(h.Error)
	}
	return s
}

func (b *bytesView) String() string {
	more := ""
	if len(b.Hex) < 2*b.Bytes {
		more = "…"
	}
	return fmt.Sprintf("%s: 0x%s%s", plural(b.Bytes, "byte"), b.Hex, more)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return safe(s)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}
