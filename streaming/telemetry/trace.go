package telemetry

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// Sizes and flags of version 00 of https://www.w3.org/TR/trace-context/
const (
	traceparentSize = 55 // version-traceid-parentid-flags
	flagSampled     = 0x01
	flagRandom      = 0x02 // level 2: the trace ID is random
)

// Child returns the traceparent of what a message causes: the trace ID and
// flags of the message's traceparent with a new span ID. Where that is absent
// or invalid it is a new root, sampled: whether to record is for whoever
// records. Of a later version only what version 00 knows is taken, as the
// specification demands.
func Child(traceparent string) string {
	p, ok := parse(traceparent)
	if !ok {
		var trace [16]byte
		for trace == ([16]byte{}) {
			binary.BigEndian.PutUint64(trace[:8], rand.Uint64())
			binary.BigEndian.PutUint64(trace[8:], rand.Uint64())
		}
		p = parent{trace: hex.EncodeToString(trace[:]), flags: flagSampled}
	}
	return p.child()
}

// Propagate returns the traceparent and tracestate of what a message causes.
// The state goes along unchanged, but never without the trace it belongs to.
func Propagate(traceparent, tracestate string) (string, string) {
	p, ok := parse(traceparent)
	if !ok {
		return Child(""), ""
	}
	return p.child(), tracestate
}

// parent is what version 00 keeps of a traceparent.
type parent struct {
	trace string // hexadecimal
	flags byte
}

func parse(s string) (parent, bool) {
	if len(s) < traceparentSize || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return parent{}, false
	}
	version, trace, span, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !isLowerHex(version) || !isLowerHex(trace) || !isLowerHex(span) || !isLowerHex(flags) {
		return parent{}, false
	}
	switch {
	case version == "ff":
		return parent{}, false
	case version == "00" && len(s) != traceparentSize:
		return parent{}, false
	case len(s) > traceparentSize && s[traceparentSize] != '-':
		return parent{}, false
	case isZero(trace) || isZero(span):
		return parent{}, false
	}
	last := nibble(flags[1]) & (flagSampled | flagRandom) // the others are reserved: sent as zero
	return parent{trace: trace, flags: last}, true
}

// isLowerHex unlike encoding/hex refuses capitals, which the specification
// forbids.
func isLowerHex(s string) bool {
	for i := range len(s) {
		if nibble(s[i]) > 15 {
			return false
		}
	}
	return true
}

func isZero(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}

func nibble(c byte) byte { return nibbles[c] }

// nibbles is the value of each lower-case hexadecimal digit, 0xff for the rest.
var nibbles = func() (table [256]byte) {
	for c := range table {
		table[c] = 0xff
	}
	for n, c := range "0123456789abcdef" {
		table[c] = byte(n)
	}
	return table
}()

func (p parent) child() string {
	var span [8]byte
	for span == ([8]byte{}) {
		binary.BigEndian.PutUint64(span[:], rand.Uint64())
	}
	var b [traceparentSize]byte
	copy(b[:], "00-")
	copy(b[3:35], p.trace)
	b[35] = '-'
	hex.Encode(b[36:52], span[:])
	b[52] = '-'
	hex.Encode(b[53:55], []byte{p.flags})
	return string(b[:])
}
