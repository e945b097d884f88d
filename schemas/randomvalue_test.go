package schemas

import (
	"encoding/hex"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"time"

	peer "github.com/twmb/avro"
)

// valueSource makes values of a schema in the form that the peer encodes:
// a union's branch other than null is a map from its name.
type valueSource struct {
	*rand.Rand
	nest int // where recursion ends
	left int // items and branches that may still be made

	repeats bool // otherForm has met a map's key twice
}

func (g *valueSource) draw(s *shape) any {
	g.nest, g.left = 6, 200
	if g.IntN(50) == 0 {
		g.nest = 30 + g.IntN(60) // beyond what the limits allow
	}
	return g.value(s, 0)
}

func (g *valueSource) value(s *shape, depth int) any {
	switch s.kind {
	case "record":
		v := make(map[string]any, len(s.parts))
		for i, p := range s.parts {
			v[s.fields[i]] = g.value(p, depth+1)
		}
		return v
	case "array":
		v := []any{}
		for range g.count(s, depth) {
			v = append(v, g.value(s.parts[0], depth+1))
		}
		return v
	case "map":
		v := map[string]any{}
		for range g.count(s, depth) {
			v[g.text()] = g.value(s.parts[0], depth+1)
		}
		return v
	case "union":
		branch := s.parts[g.IntN(len(s.parts))]
		if g.left--; depth >= g.nest || g.left <= 0 {
			for _, p := range s.parts {
				if p.kind == "null" {
					branch = p
				}
			}
		}
		if branch.kind == "null" {
			return nil
		}
		return map[string]any{branch.typeName(): g.value(branch, depth+1)}
	}
	return g.leaf(s)
}

func (g *valueSource) count(s *shape, depth int) int {
	if s.parts[0].zeroWidth() && s.kind == "array" && g.IntN(50) == 0 {
		return 4000 + g.IntN(97) // the limits allow it once in a value
	}
	if depth >= g.nest || g.left <= 0 {
		return 0
	}
	n := g.IntN(4)
	switch {
	case g.nest > 6:
		n = 1
	case g.IntN(50) == 0:
		n = g.IntN(g.left + 1)
	}
	g.left -= n
	return n
}

func (g *valueSource) leaf(s *shape) any {
	switch s.kind {
	case "boolean":
		return g.IntN(2) == 0
	case "int":
		n := int32(g.number(32))
		if s.logical == "time-millis" && g.IntN(2) == 0 {
			return time.Duration(n) * time.Millisecond
		}
		if s.logical == "date" && g.IntN(2) == 0 {
			return time.Unix(int64(n)*86400, 0).UTC()
		}
		return n
	case "long":
		return g.long(s.logical)
	case "float":
		return float32(g.float())
	case "double":
		return g.float()
	case "string":
		if s.logical == "uuid" && g.IntN(4) > 0 {
			u := hex.EncodeToString(g.bytes(16))
			return strings.Join([]string{u[:8], u[8:12], u[12:16], u[16:20], u[20:]}, "-")
		}
		return g.text()
	case "enum":
		return s.symbols[g.IntN(len(s.symbols))]
	case "bytes", "fixed":
		return g.opaque(s)
	}
	return nil
}

func (g *valueSource) long(logical string) any {
	n := g.number(64)
	if logical == "time-micros" {
		n /= 1000 // what a time.Duration holds
	}
	if g.IntN(2) == 0 {
		return n
	}
	switch logical {
	case "time-micros":
		return time.Duration(n) * time.Microsecond
	case "timestamp-millis", "local-timestamp-millis":
		return time.UnixMilli(n).UTC()
	case "timestamp-micros", "local-timestamp-micros":
		return time.UnixMicro(n).UTC()
	}
	return n
}

// opaque returns a value of bytes or fixed.
func (g *valueSource) opaque(s *shape) any {
	switch {
	case s.logical == "decimal":
		digits := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(1+g.IntN(s.precision))), nil)
		n := new(big.Int).SetBytes(g.bytes(20))
		n.Mod(n, digits)
		if g.IntN(8) == 0 {
			n.Sub(digits, big.NewInt(1))
		}
		if g.IntN(2) == 0 {
			n.Neg(n)
		}
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(s.scale)), nil)
		return new(big.Rat).SetFrac(n, scale)
	case s.logical == "duration":
		return peer.Duration{Months: g.Uint32(), Days: g.Uint32(), Milliseconds: g.Uint32()}
	case s.kind == "fixed":
		return g.bytes(s.size)
	case g.IntN(2) == 0:
		return []byte(g.text())
	}
	return g.bytes(g.IntN(20))
}

// number returns a number of at most so many bits: small, at an edge, or any.
func (g *valueSource) number(bits int) int64 {
	n := int64(g.Uint64()) >> (64 - bits)
	switch g.IntN(6) {
	case 0:
		return int64(g.IntN(5)) - 2
	case 1:
		return math.MinInt64 >> (64 - bits)
	case 2:
		return math.MaxInt64 >> (64 - bits)
	case 3:
		return n
	}
	return n >> g.IntN(bits)
}

func (g *valueSource) float() float64 {
	edges := []float64{
		0, math.Copysign(0, -1), 1, -1.5, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.MaxFloat32,
		math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat32,
	}
	if n := g.IntN(2 * len(edges)); n < len(edges) {
		return edges[n]
	}
	return math.Float64frombits(g.Uint64())
}

func (g *valueSource) text() string {
	switch g.IntN(8) {
	case 0:
		return ""
	case 1:
		return "0x" + hex.EncodeToString(g.bytes(g.IntN(4)))
	case 2:
		return strings.Repeat("ü𝄞\x00", g.IntN(200)) // longer than what the decoder batches
	}
	runes := []rune("aZ09 ._-\"\\\n\x00äß€漢𝄞�")
	var b strings.Builder
	for range g.IntN(12) {
		b.WriteRune(runes[g.IntN(len(runes))])
	}
	return b.String()
}

func (g *valueSource) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// mutate returns bytes that were a value's and most often are not.
func (g *valueSource) mutate(valid []byte) []byte {
	if g.IntN(20) == 0 {
		return g.bytes(g.IntN(30))
	}
	b := append([]byte(nil), valid...)
	for range 1 + g.IntN(3) {
		at := g.IntN(len(b) + 1)
		inside := at < len(b)
		switch op := g.IntN(8); {
		case op == 0 && inside: // flip
			b[at] ^= 1 << g.IntN(8)
		case op == 1 && inside: // replace
			b[at] = []byte{0, 1, 2, 3, 4, 0x7f, 0x80, 0x81, 0xfe, 0xff}[g.IntN(10)]
		case op == 2: // cut
			b = b[:at]
		case op == 3: // extend
			b = append(b, g.bytes(1+g.IntN(3))...)
		case op == 4: // insert
			b = join(b[:at], g.bytes(1+g.IntN(2)), b[at:])
		case op == 5 && inside: // take out
			b = join(b[:at], b[at+1:])
		case op == 6 && inside && b[at] < 0x80: // the same number, longer
			b = join(b[:at], []byte{b[at] | 0x80, 0}, b[at+1:])
		case op == 7 && inside && b[at] > 0 && b[at] < 0x80 && b[at]%2 == 0: // a block's count, with some size
			b = join(b[:at], []byte{b[at] - 1}, long(int64(g.IntN(len(b)-at+2))), b[at+1:])
		}
	}
	return b
}
