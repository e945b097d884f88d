package schemas

import (
	"strconv"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// The headers of hop data, in the order in which they are written.
const (
	HeaderAttempt = "parley-attempt"
	HeaderMoves   = "parley-moves"
	HeaderDue     = "parley-due"
	HeaderOrigin  = "parley-origin"
	HeaderReason  = "parley-reason"
	HeaderError   = "parley-error"
)

// MaxErrorText bounds parley-error, in bytes.
const MaxErrorText = 4 << 10

// AppendHop appends hop data to a record's original headers as one block that
// begins with parley-attempt. Due, reason and error are written where they are
// set. The error text is made valid UTF-8 and cut to MaxErrorText.
func AppendHop(dst []streaming.Header, h *streaming.Hop) []streaming.Header {
	dst = append(dst,
		streaming.Header{Key: HeaderAttempt, Value: strconv.AppendInt(nil, int64(h.Attempt), 10)},
		streaming.Header{Key: HeaderMoves, Value: strconv.AppendInt(nil, int64(h.Moves), 10)},
	)
	if h.Due > 0 {
		dst = append(dst, streaming.Header{Key: HeaderDue, Value: strconv.AppendInt(nil, h.Due, 10)})
	}
	dst = append(dst, streaming.Header{Key: HeaderOrigin, Value: appendOrigin(nil, &h.Origin)})
	if h.Reason != "" {
		dst = append(dst, streaming.Header{Key: HeaderReason, Value: []byte(h.Reason)})
	}
	if h.Error != "" {
		dst = append(dst, streaming.Header{Key: HeaderError, Value: []byte(BoundErrorText(h.Error))})
	}
	return dst
}

// SplitHop splits the headers of a record in a retry or dead-letter topic into
// the original ones and the hop data. The block of hop data begins at the last
// parley-attempt: a sender may have used such a header itself, and what it
// wrote stays part of the original, byte for byte. The original shares memory
// with headers, but an append to it copies.
//
// Without a parley-attempt ok is false. A block that is damaged gives ok false
// and a *ContractError. Call it for records of companion topics only: in an
// input topic there is no hop data, whatever its headers say.
func SplitHop(headers []streaming.Header) (original []streaming.Header, hop streaming.Hop, ok bool, err error) {
	start := len(headers) - 1
	for start >= 0 && headers[start].Key != HeaderAttempt {
		start--
	}
	if start < 0 {
		return headers, streaming.Hop{}, false, nil
	}
	block := hopBlock{rest: headers[start:]}
	hop.Attempt = int(block.number(HeaderAttempt, 31))
	hop.Moves = int(block.number(HeaderMoves, 31))
	if block.next(HeaderDue) {
		hop.Due = block.number(HeaderDue, 63)
	}
	hop.Origin = block.origin()
	if block.next(HeaderReason) {
		hop.Reason = streaming.ParseReason(string(block.take(HeaderReason)))
	}
	if block.next(HeaderError) {
		hop.Error = BoundErrorText(string(block.take(HeaderError)))
	}
	if block.err == nil && len(block.rest) > 0 {
		block.fail(block.rest[0].Key, "does not belong in hop data here")
	}
	if block.err != nil {
		return headers, streaming.Hop{}, false, block.err
	}
	return headers[:start:start], hop, true, nil
}

// hopBlock reads the headers of hop data in their order and keeps the first
// error.
type hopBlock struct {
	rest []streaming.Header
	err  error
}

func (b *hopBlock) fail(header, problem string) {
	if b.err == nil {
		b.err = &ContractError{Header: header, Problem: problem}
	}
}

func (b *hopBlock) next(key string) bool {
	return b.err == nil && len(b.rest) > 0 && b.rest[0].Key == key
}

func (b *hopBlock) take(key string) []byte {
	if !b.next(key) {
		b.fail(key, "is missing in hop data")
		return nil
	}
	v := b.rest[0].Value
	b.rest = b.rest[1:]
	return v
}

func (b *hopBlock) number(key string, bits int) int64 {
	v := b.take(key)
	if b.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(string(v), 10, bits)
	if err != nil {
		b.fail(key, quote(v)+" is not a number that fits")
	}
	return int64(n)
}

func (b *hopBlock) origin() streaming.Origin {
	v := b.take(HeaderOrigin)
	if b.err != nil {
		return streaming.Origin{}
	}
	o, ok := parseOrigin(string(v))
	if !ok {
		b.fail(HeaderOrigin, quote(v)+" is not topic/partition/offset/timestamp")
	}
	return o
}

func appendOrigin(dst []byte, o *streaming.Origin) []byte {
	dst = append(dst, o.Topic...)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, int64(o.Partition), 10)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, o.Offset, 10)
	dst = append(dst, '/')
	return strconv.AppendInt(dst, o.Timestamp.UnixMilli(), 10)
}

func parseOrigin(s string) (streaming.Origin, bool) {
	// A topic's name holds no slash.
	topic, rest, _ := strings.Cut(s, "/")
	partition, rest, _ := strings.Cut(rest, "/")
	offset, timestamp, found := strings.Cut(rest, "/")
	if !found || validTopic(topic) != nil {
		return streaming.Origin{}, false
	}
	p, err1 := strconv.ParseUint(partition, 10, 31)
	o, err2 := strconv.ParseUint(offset, 10, 63)
	// Kafka's timestamps can be negative: -1 is none.
	t, err3 := strconv.ParseInt(timestamp, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return streaming.Origin{}, false
	}
	return streaming.Origin{
		Topic: topic, Partition: int32(p), Offset: int64(o), Timestamp: time.UnixMilli(t).UTC(),
	}, true
}

// BoundErrorText cuts a text to MaxErrorText and makes it valid UTF-8.
func BoundErrorText(s string) string {
	s = clip(s, MaxErrorText)
	// The replacement is longer than what it replaces, so cut again.
	return clip(strings.ToValidUTF8(s, "\uFFFD"), MaxErrorText)
}
