package schemas

import (
	"encoding/binary"
	"math/rand/v2"
)

// otherForm rewrites a value in the forms that writers in other languages
// choose: several blocks, with and without their sizes, and numbers that take
// more bytes than they need. The value is the same.
func (g *valueSource) otherForm(s *shape, valid []byte) []byte {
	out, rest := g.rewrite(nil, s, valid)
	if len(rest) > 0 {
		panic("the value ends before its bytes")
	}
	return out
}

// repeatsKey says whether a map's key stands twice in bytes that the peer has
// taken, which then has the last value alone.
func repeatsKey(s *shape, input []byte) bool {
	g := &valueSource{Rand: rand.New(rand.NewPCG(0, 0))}
	g.otherForm(s, input)
	return g.repeats
}

func (g *valueSource) rewrite(dst []byte, s *shape, b []byte) (out, rest []byte) {
	take := func(n int) ([]byte, []byte) { return append(dst, b[:n]...), b[n:] }
	switch s.kind {
	case "null":
		return dst, b
	case "boolean":
		return take(1)
	case "float":
		return take(4)
	case "double":
		return take(8)
	case "fixed":
		return take(s.size)
	case "int", "enum":
		n, b := number(b)
		return g.pad(dst, n, 5), b
	case "long":
		n, b := number(b)
		return g.pad(dst, n, 10), b
	case "bytes", "string":
		return g.rewriteBytes(dst, b)
	case "record":
		for _, p := range s.parts {
			dst, b = g.rewrite(dst, p, b)
		}
		return dst, b
	case "union":
		n, b := number(b)
		return g.rewrite(g.pad(dst, n, 5), s.parts[n], b)
	}
	return g.rewriteBlocks(dst, s, b)
}

func (g *valueSource) rewriteBlocks(dst []byte, s *shape, b []byte) (out, rest []byte) {
	keys := map[string]bool{}
	for {
		var left int64
		if left, b = number(b); left == 0 {
			return g.pad(dst, 0, 10), b
		}
		if left < 0 {
			left = -left
			_, b = number(b) // the block's size
		}
		for left > 0 {
			count := 1 + g.Int64N(left)
			left -= count
			var block []byte
			for range count {
				if s.kind == "map" {
					size, key := number(b)
					g.repeats = g.repeats || keys[string(key[:size])]
					keys[string(key[:size])] = true
					block, b = g.rewriteBytes(block, b)
				}
				block, b = g.rewrite(block, s.parts[0], b)
			}
			if g.IntN(2) == 0 {
				dst = g.pad(dst, count, 10)
			} else {
				dst = g.pad(g.pad(dst, -count, 10), int64(len(block)), 10)
			}
			dst = append(dst, block...)
		}
	}
}

func (g *valueSource) rewriteBytes(dst, b []byte) (out, rest []byte) {
	n, b := number(b)
	return append(g.pad(dst, n, 10), b[:n]...), b[n:]
}

// pad appends a number, longer than it needs to be in one case of four.
func (g *valueSource) pad(dst []byte, n int64, most int) []byte {
	start := len(dst)
	dst = binary.AppendVarint(dst, n)
	if g.IntN(4) > 0 {
		return dst
	}
	for range g.IntN(most - (len(dst) - start) + 1) {
		dst[len(dst)-1] |= 0x80
		dst = append(dst, 0)
	}
	return dst
}

func number(b []byte) (int64, []byte) {
	n, size := binary.Varint(b)
	return n, b[size:]
}
