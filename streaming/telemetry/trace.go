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
		p = parent{flags: flagSampled}
		for p.trace == ([16]byte{}) {
			binary.BigEndian.PutUint64(p.trace[:8], rand.Uint64())
			binary.BigEndian.PutUint64(p.trace[8:], rand.Uint64())
		}
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
	trace [16]byte
	flags byte
}

func parse(s string) (parent, bool) {
	var p parent
	if len(s) < traceparentSize || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return p, false
	}
	var version, flags [1]byte
	var span [8]byte
	if !lowerHex(version[:], s[:2]) || !lowerHex(p.trace[:], s[3:35]) ||
		!lowerHex(span[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return p, false
	}
	switch {
	case version[0] == 0xff:
		return p, false
	case version[0] == 0 && len(s) != traceparentSize:
		return p, false
	case len(s) > traceparentSize && s[traceparentSize] != '-':
		return p, false
	case p.trace == [16]byte{} || span == [8]byte{}:
		return p, false
	}
	p.flags = flags[0] & (flagSampled | flagRandom) // the others are reserved: sent as zero
	return p, true
}

// lowerHex decodes src into dst. Unlike encoding/hex it refuses capitals,
// which the specification forbids.
func lowerHex(dst []byte, src string) bool {
	for i := range dst {
		hi, lo := nibble(src[2*i]), nibble(src[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

func (p parent) child() string {
	var span [8]byte
	for span == ([8]byte{}) {
		binary.BigEndian.PutUint64(span[:], rand.Uint64())
	}
	var b [traceparentSize]byte
	copy(b[:], "00-")
	hex.Encode(b[3:35], p.trace[:])
	b[35] = '-'
	hex.Encode(b[36:52], span[:])
	b[52] = '-'
	hex.Encode(b[53:55], []byte{p.flags})
	return string(b[:])
}
