package schemas

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// The headers of a message's envelope: CloudEvents 1.0 in Kafka's binary mode,
// the extensions of wire contract version 1, and W3C trace context.
const (
	HeaderVersion     = "parley-version"
	HeaderSpecVersion = "ce_specversion"
	HeaderID          = "ce_id"
	HeaderSource      = "ce_source"
	HeaderType        = "ce_type"
	HeaderTime        = "ce_time"
	HeaderRecipient   = "ce_recipient"
	HeaderKind        = "ce_kind"
	HeaderCorrelation = "ce_correlationid"
	HeaderCausation   = "ce_causationid"
	HeaderReplyTo     = "ce_replyto"
	HeaderExpiry      = "ce_expirytime"
	HeaderHops        = "ce_hops"
	HeaderAck         = "ce_ack"
	HeaderDeliverAt   = "ce_deliverat"
	HeaderSequence    = "ce_sequence"
	HeaderLast        = "ce_last"
	HeaderBudget      = "ce_budget"
	HeaderRoute       = "ce_route"
	HeaderContentType = "content-type"
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"

	// HeaderForwarded are the agents that have forwarded the message, in order.
	HeaderForwarded = "parley-forwarded"
)

// What version 1 of the wire contract writes in its fixed headers.
const (
	WireVersion = "1"
	SpecVersion = "1.0"
	ContentType = "application/avro"
)

const timeFormat = "2006-01-02T15:04:05.000Z"

// AppendEnvelope appends a message's envelope as headers. An attribute with
// its zero value is not written, except Hops; parley-version, ce_specversion
// and content-type always are. Times are RFC 3339, UTC, milliseconds. The
// values are the envelope's own strings, where they are text, and must not be
// modified.
func AppendEnvelope(dst []streaming.Header, e *streaming.Envelope) []streaming.Header {
	w := headerWriter{headers: dst, buf: make([]byte, 0, formattedSize(e))}
	w.headers = append(w.headers, headerVersion, headerSpecVersion)
	w.text(HeaderID, e.ID)
	w.text(HeaderSource, e.Source)
	w.text(HeaderType, e.Type)
	w.time(HeaderTime, e.Time)
	w.text(HeaderRecipient, e.Recipient)
	w.text(HeaderKind, string(e.Kind))
	w.text(HeaderCorrelation, e.CorrelationID)
	w.text(HeaderCausation, e.CausationID)
	w.text(HeaderReplyTo, e.ReplyTo)
	w.time(HeaderExpiry, e.Expiry)
	w.number(HeaderHops, int64(max(e.Hops, 0)))
	w.text(HeaderAck, string(e.Ack))
	w.time(HeaderDeliverAt, e.DeliverAt)
	if e.Sequence != 0 {
		w.number(HeaderSequence, e.Sequence)
	}
	if e.Last {
		w.text(HeaderLast, "true")
	}
	w.text(HeaderBudget, e.Budget)
	w.text(HeaderRoute, strings.Join(e.Route, ","))
	w.headers = append(w.headers, headerContentType)
	w.text(HeaderTraceParent, e.TraceParent)
	w.text(HeaderTraceState, e.TraceState)
	return w.headers
}

// formattedSize is about what the times and numbers take.
func formattedSize(e *streaming.Envelope) int {
	n := len("32")
	for _, t := range [...]*time.Time{&e.Time, &e.Expiry, &e.DeliverAt} {
		if !t.IsZero() {
			n += len(timeFormat)
		}
	}
	if e.Sequence != 0 {
		n += 20
	}
	return n
}

// The headers that are the same in all messages.
var (
	headerVersion     = streaming.Header{Key: HeaderVersion, Value: []byte(WireVersion)}
	headerSpecVersion = streaming.Header{Key: HeaderSpecVersion, Value: []byte(SpecVersion)}
	headerContentType = streaming.Header{Key: HeaderContentType, Value: []byte(ContentType)}
)

// headerWriter appends headers. What it has to format shares one buffer.
type headerWriter struct {
	headers []streaming.Header
	buf     []byte
}

func (w *headerWriter) add(key string, start int) {
	w.headers = append(w.headers, streaming.Header{Key: key, Value: w.buf[start:len(w.buf):len(w.buf)]})
}

func (w *headerWriter) text(key, value string) {
	if value != "" {
		w.headers = append(w.headers, streaming.Header{Key: key, Value: unsafe.Slice(unsafe.StringData(value), len(value))})
	}
}

func (w *headerWriter) number(key string, n int64) {
	start := len(w.buf)
	w.buf = strconv.AppendInt(w.buf, n, 10)
	w.add(key, start)
}

func (w *headerWriter) time(key string, t time.Time) {
	if t.IsZero() {
		return
	}
	start := len(w.buf)
	w.buf = appendTime(w.buf, t.UTC())
	w.add(key, start)
}

// appendTime is Time.AppendFormat with timeFormat, which reads its layout anew
// each time.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, timeFormat)
	}
	hour, minute, second := t.Clock()
	b = appendTwo(b, year/100)
	b = append(appendTwo(b, year%100), '-')
	b = append(appendTwo(b, int(month)), '-')
	b = append(appendTwo(b, day), 'T')
	b = append(appendTwo(b, hour), ':')
	b = append(appendTwo(b, minute), ':')
	b = append(appendTwo(b, second), '.')
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(appendTwo(append(b, byte('0'+ms/100)), ms%100), 'Z')
}

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// DecodeEnvelope reads a message's envelope from its record. Required are
// ce_specversion, ce_id, ce_source, ce_type and a value; an optional attribute
// that is absent or empty gets its default: Kind event, CorrelationID the ID,
// Hops streaming.DefaultHops, else zero. Of a header that stands twice the
// first counts. Unknown headers are ignored. Times are in UTC. The error is a
// *ContractError.
func DecodeEnvelope(rec *streaming.Record) (streaming.Envelope, error) {
	var env streaming.Envelope
	err := ReadEnvelope(&env, rec)
	return env, err
}

// ReadEnvelope is DecodeEnvelope into an envelope that is zero, and stays so
// where there is an error. Its strings share one allocation.
func ReadEnvelope(env *streaming.Envelope, rec *streaming.Record) error {
	d := envelopeDecoder{env: env}
	env.Hops = streaming.DefaultHops
	size := 0
	for i := range rec.Headers {
		if h := &rec.Headers[i]; isEnvelope(h) {
			size += len(h.Value)
		}
	}
	d.texts.Grow(size)
	for i := range rec.Headers {
		if h := &rec.Headers[i]; isEnvelope(h) {
			d.header(h.Key, h.Value)
		}
	}
	var err error
	switch {
	case d.err != nil:
		err = d.err
	case d.seen&seenSpecVersion == 0:
		err = missing(HeaderSpecVersion)
	case env.ID == "":
		err = missing(HeaderID)
	case env.Source == "":
		err = missing(HeaderSource)
	case env.Type == "":
		err = missing(HeaderType)
	case len(rec.Value) == 0:
		err = &ContractError{Header: "value", Problem: "the record has none"}
	}
	if err != nil {
		*env = streaming.Envelope{}
		return err
	}
	if env.Kind == "" {
		env.Kind = streaming.KindEvent
	}
	if env.CorrelationID == "" {
		env.CorrelationID = env.ID
	}
	return nil
}

// isEnvelope reports whether a header may be one of the envelope's: they begin
// with ce_, content-type, parley- or trace.
func isEnvelope(h *streaming.Header) bool {
	if len(h.Value) == 0 || h.Key == "" {
		return false
	}
	c := h.Key[0]
	return c == 'c' || c == 'p' || c == 't'
}

func missing(header string) error {
	return &ContractError{Header: header, Problem: "is required and missing"}
}

// What an envelopeDecoder has seen, where the envelope itself cannot tell.
const (
	seenVersion = 1 << iota
	seenSpecVersion
	seenHops
	seenSequence
	seenLast
	seenContentType
)

// envelopeDecoder takes headers in order and keeps the first error.
type envelopeDecoder struct {
	env   *streaming.Envelope
	texts strings.Builder // with room for all values, so that what was taken from it stays
	seen  uint
	err   error
}

// take copies a value: a message may be kept longer than the batch of records
// that its bytes are part of.
func (d *envelopeDecoder) take(v []byte) string {
	start := d.texts.Len()
	d.texts.Write(v)
	return d.texts.String()[start:]
}

func (d *envelopeDecoder) first(bit uint) bool {
	if d.seen&bit != 0 {
		return false
	}
	d.seen |= bit
	return true
}

func (d *envelopeDecoder) fail(header, problem string) {
	if d.err == nil {
		d.err = &ContractError{Header: header, Problem: problem}
	}
}

func (d *envelopeDecoder) header(key string, v []byte) {
	e := d.env
	switch key {
	case HeaderVersion:
		if d.first(seenVersion) && string(v) != WireVersion {
			d.fail(key, quote(v)+" is not a version that this reader knows; it knows "+WireVersion)
		}
	case HeaderSpecVersion:
		if d.first(seenSpecVersion) && string(v) != SpecVersion {
			d.fail(key, quote(v)+" is not "+SpecVersion)
		}
	case HeaderContentType:
		if d.first(seenContentType) && !isAvro(v) {
			d.fail(key, quote(v)+" is not "+ContentType)
		}
	case HeaderID:
		d.text(&e.ID, key, v)
	case HeaderSource:
		d.text(&e.Source, key, v)
	case HeaderType:
		d.checked(&e.Type, key, v, ValidType)
	case HeaderRecipient:
		d.checked(&e.Recipient, key, v, ValidName)
	case HeaderCorrelation:
		d.text(&e.CorrelationID, key, v)
	case HeaderCausation:
		d.text(&e.CausationID, key, v)
	case HeaderReplyTo:
		d.checked(&e.ReplyTo, key, v, func(s string) error { _, _, err := ParseReplyTo(s); return err })
	case HeaderBudget:
		d.budget(v)
	case HeaderTraceParent:
		d.trace(&e.TraceParent, v)
	case HeaderTraceState:
		d.trace(&e.TraceState, v)
	case HeaderTime:
		d.time(&e.Time, key, v)
	case HeaderExpiry:
		d.time(&e.Expiry, key, v)
	case HeaderDeliverAt:
		d.time(&e.DeliverAt, key, v)
	case HeaderKind:
		d.kind(v)
	case HeaderAck:
		d.ack(v)
	case HeaderHops:
		if d.first(seenHops) {
			e.Hops = int(d.number(key, v, 31))
		}
	case HeaderSequence:
		if d.first(seenSequence) {
			e.Sequence = d.number(key, v, 63)
		}
	case HeaderLast:
		d.last(v)
	case HeaderRoute:
		d.route(v)
	}
}

func (d *envelopeDecoder) text(dst *string, key string, v []byte) {
	switch {
	case *dst != "":
	case !utf8.Valid(v):
		d.fail(key, quote(v)+" is not UTF-8")
	default:
		*dst = d.take(v)
	}
}

func (d *envelopeDecoder) checked(dst *string, key string, v []byte, valid func(string) error) {
	if *dst != "" {
		return
	}
	d.text(dst, key, v)
	if err := valid(*dst); err != nil {
		d.fail(key, err.Error())
	}
}

// trace keeps trace context as it is: W3C Trace Context has a receiver drop
// what it cannot read, so a bad one never costs a message.
func (d *envelopeDecoder) trace(dst *string, v []byte) {
	if *dst == "" && utf8.Valid(v) {
		*dst = d.take(v)
	}
}

func (d *envelopeDecoder) time(dst *time.Time, key string, v []byte) {
	if !dst.IsZero() {
		return
	}
	var t time.Time
	err := t.UnmarshalText(v)
	if err != nil { // stricter than Parse
		t, err = time.Parse(time.RFC3339, string(v))
	}
	// In UTC the first and last hours can leave the years that RFC 3339 has.
	if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
		d.fail(key, quote(v)+" is not a time of RFC 3339")
		return
	}
	*dst = t
}

func (d *envelopeDecoder) number(key string, v []byte, bits int) int64 {
	n, err := strconv.ParseUint(string(v), 10, bits)
	if err != nil {
		d.fail(key, quote(v)+" is not a whole number from 0 to "+strconv.FormatUint(1<<bits-1, 10))
	}
	return int64(n)
}

func (d *envelopeDecoder) kind(v []byte) {
	if d.env.Kind != "" {
		return
	}
	// The conversion in a switch does not allocate, and the constants are
	// shared by all envelopes.
	switch string(v) {
	case string(streaming.KindEvent):
		d.env.Kind = streaming.KindEvent
	case string(streaming.KindIntent):
		d.env.Kind = streaming.KindIntent
	case string(streaming.KindStateDiff):
		d.env.Kind = streaming.KindStateDiff
	case string(streaming.KindCommand):
		d.env.Kind = streaming.KindCommand
	case string(streaming.KindRequest):
		d.env.Kind = streaming.KindRequest
	case string(streaming.KindReply):
		d.env.Kind = streaming.KindReply
	case string(streaming.KindAck):
		d.env.Kind = streaming.KindAck
	case string(streaming.KindError):
		d.env.Kind = streaming.KindError
	default:
		d.fail(HeaderKind, quote(v)+" is not a kind of message")
	}
}

func (d *envelopeDecoder) ack(v []byte) {
	if d.env.Ack != "" {
		return
	}
	switch string(v) {
	case string(streaming.AckDelivered):
		d.env.Ack = streaming.AckDelivered
	case string(streaming.AckHandled):
		d.env.Ack = streaming.AckHandled
	default:
		d.fail(HeaderAck, quote(v)+" is neither delivered nor handled")
	}
}

func (d *envelopeDecoder) last(v []byte) {
	if !d.first(seenLast) {
		return
	}
	switch string(v) {
	case "true":
		d.env.Last = true
	case "false":
	default:
		d.fail(HeaderLast, quote(v)+" is neither true nor false")
	}
}

func (d *envelopeDecoder) budget(v []byte) {
	if d.env.Budget != "" {
		return
	}
	if _, err := streaming.ParseBudget(string(v)); err != nil {
		d.fail(HeaderBudget, quote(v)+" is not unit=number")
		return
	}
	d.text(&d.env.Budget, HeaderBudget, v)
}

// MaxRoute is how many agents a routing slip may have: no message has the hops for
// more.
const MaxRoute = 256

func (d *envelopeDecoder) route(v []byte) {
	if d.env.Route != nil {
		return
	}
	if n := bytes.Count(v, []byte(",")) + 1; n > MaxRoute {
		d.fail(HeaderRoute, strconv.Itoa(n)+" agents are more than "+strconv.Itoa(MaxRoute))
		return
	}
	d.env.Route = strings.Split(string(v), ",")
	for _, name := range d.env.Route {
		if err := ValidName(name); err != nil {
			d.fail(HeaderRoute, err.Error())
			return
		}
	}
}

// isAvro ignores case and parameters, as RFC 9110 has it for media types.
func isAvro(v []byte) bool {
	media, _, _ := bytes.Cut(v, []byte(";"))
	return strings.EqualFold(string(bytes.TrimSpace(media)), ContentType)
}
