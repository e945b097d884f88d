package schemas

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// shape is a random schema. What the two libraries make of its text is
// compared by it, so it belongs to neither.
type shape struct {
	kind    string // Avro's type
	logical string // Avro's logical type, or nothing
	name    string // full name of a record, an enum or a fixed

	size             int // of a fixed
	precision, scale int // of a decimal
	symbols          []string
	fields           []string // of a record, as many as parts
	parts            []*shape // fields, branches, the items of an array or the values of a map
}

// schemaSource makes schemas. Its two sources of chance are apart, so that
// the same structure comes with other logical types: those are what a cache by
// a schema's canonical form would mix up.
type schemaSource struct {
	structure, logical *rand.Rand

	names  int
	open   []*shape // records whose fields are being made
	closed []*shape // named types that are whole
}

// newSchemaSource gives the same structure for the same seed, and other
// logical types for each variant.
func newSchemaSource(seed, variant uint64) *schemaSource {
	return &schemaSource{structure: rand.New(rand.NewPCG(seed, 1)), logical: rand.New(rand.NewPCG(seed, 2+variant))}
}

var leafKinds = []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string", "fixed", "enum"}

// root returns a schema, most often of a record as the platform's values are.
func (g *schemaSource) root() *shape {
	if g.structure.IntN(4) == 0 {
		return g.draw(4)
	}
	return g.record(4)
}

// draw returns a schema that nests at most depth levels, recursion aside.
func (g *schemaSource) draw(depth int) *shape {
	n := g.structure.IntN(100)
	switch {
	case depth == 0 || n < 40:
		return g.leaf(leafKinds[g.structure.IntN(len(leafKinds))])
	case n < 45 && len(g.closed) > 0:
		return g.closed[g.structure.IntN(len(g.closed))]
	case n < 55 && len(g.open) > 0:
		return g.recursion()
	case n < 65:
		return &shape{kind: "array", parts: []*shape{g.draw(depth - 1)}}
	case n < 75:
		return &shape{kind: "map", parts: []*shape{g.draw(depth - 1)}}
	case n < 85:
		return g.union(depth)
	}
	return g.record(depth)
}

// leaf returns a type without parts, with a logical type in half of the cases.
func (g *schemaSource) leaf(kind string) *shape {
	s := &shape{kind: kind}
	switch kind {
	case "fixed":
		s.name = g.newName("F")
		s.size = []int{1, 2, 4, 8, 12, 16, 17}[g.structure.IntN(7)]
		g.closed = append(g.closed, s)
	case "enum":
		s.name = g.newName("E")
		for i := range 1 + g.structure.IntN(4) {
			s.symbols = append(s.symbols, "S"+strconv.Itoa(i))
		}
		g.closed = append(g.closed, s)
	}
	logicals := map[string][]string{
		"int":    {"date", "time-millis"},
		"long":   {"time-micros", "timestamp-millis", "timestamp-micros", "local-timestamp-millis", "local-timestamp-micros"},
		"bytes":  {"decimal"},
		"string": {"uuid"},
		"fixed":  {"decimal"},
	}[kind]
	switch s.size {
	case 12:
		logicals = append(logicals, "duration")
	case 16:
		logicals = append(logicals, "uuid")
	}
	// Drawn whether it is used or not, to keep the variants in step.
	half, which := g.logical.IntN(2) == 0, g.logical.IntN(60)
	if len(logicals) > 0 && half {
		s.logical = logicals[which%len(logicals)]
	}
	if s.logical == "decimal" {
		most := 40 // digits that fit
		if kind == "fixed" {
			most = (8*s.size - 1) * 30103 / 100000
		}
		s.precision = 1 + g.logical.IntN(most)
		s.scale = g.logical.IntN(s.precision + 1)
	}
	return s
}

func (g *schemaSource) record(depth int) *shape {
	s := &shape{kind: "record", name: g.newName("R")}
	g.open = append(g.open, s)
	for i := range g.structure.IntN(6) {
		s.fields = append(s.fields, "f"+strconv.Itoa(i))
		s.parts = append(s.parts, g.draw(depth-1))
	}
	g.open = g.open[:len(g.open)-1]
	g.closed = append(g.closed, s)
	return s
}

// recursion returns a way back to an enclosing record that a value can end.
func (g *schemaSource) recursion() *shape {
	back := g.open[g.structure.IntN(len(g.open))]
	switch g.structure.IntN(4) {
	case 0:
		return &shape{kind: "array", parts: []*shape{back}}
	case 1:
		return &shape{kind: "map", parts: []*shape{back}}
	}
	return &shape{kind: "union", parts: []*shape{{kind: "null"}, back}}
}

// union returns a union of different branches, most often with null.
func (g *schemaSource) union(depth int) *shape {
	s := &shape{kind: "union"}
	if g.structure.IntN(3) > 0 {
		s.parts = append(s.parts, &shape{kind: "null"})
	}
	for range 1 + g.structure.IntN(4) {
		branch := g.draw(depth - 1)
		same := func(b *shape) bool { return b.typeName() == branch.typeName() }
		if branch.kind != "union" && !slices.ContainsFunc(s.parts, same) {
			s.parts = append(s.parts, branch)
		}
	}
	if len(s.parts) == 0 {
		s.parts = append(s.parts, g.leaf("string"))
	}
	g.structure.Shuffle(len(s.parts), func(i, j int) { s.parts[i], s.parts[j] = s.parts[j], s.parts[i] })
	return s
}

func (g *schemaSource) newName(letter string) string {
	g.names++
	return []string{"a.", "b.c."}[g.structure.IntN(2)] + letter + strconv.Itoa(g.names)
}

// typeName is what tells a union's branches apart.
func (s *shape) typeName() string {
	if s.name != "" {
		return s.name
	}
	return s.kind
}

// zeroWidth says whether a value of s takes no byte.
func (s *shape) zeroWidth() bool {
	if s.kind == "record" {
		return !slices.ContainsFunc(s.parts, func(p *shape) bool { return !p.zeroWidth() })
	}
	return s.kind == "null"
}

// text is the schema's JSON.
func (s *shape) text() string {
	var b strings.Builder
	s.write(&b, map[string]bool{})
	return b.String()
}

func (s *shape) write(b *strings.Builder, known map[string]bool) {
	if known[s.name] {
		fmt.Fprintf(b, "%q", s.name)
		return
	}
	if s.name != "" {
		known[s.name] = true
	}
	list := func(parts []*shape) {
		for i, p := range parts {
			if i > 0 {
				b.WriteByte(',')
			}
			p.write(b, known)
		}
	}
	if s.kind == "union" {
		b.WriteByte('[')
		list(s.parts)
		b.WriteByte(']')
		return
	}
	fmt.Fprintf(b, `{"type":%q`, s.kind)
	if s.name != "" {
		fmt.Fprintf(b, `,"name":%q`, s.name)
	}
	switch s.kind {
	case "fixed":
		fmt.Fprintf(b, `,"size":%d`, s.size)
	case "enum":
		fmt.Fprintf(b, `,"symbols":["%s"]`, strings.Join(s.symbols, `","`))
	case "array":
		b.WriteString(`,"items":`)
		list(s.parts)
	case "map":
		b.WriteString(`,"values":`)
		list(s.parts)
	case "record":
		b.WriteString(`,"fields":[`)
		for i, p := range s.parts {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, `{"name":%q,"type":`, s.fields[i])
			p.write(b, known)
			b.WriteByte('}')
		}
		b.WriteByte(']')
	}
	if s.logical != "" {
		fmt.Fprintf(b, `,"logicalType":%q`, s.logical)
	}
	if s.logical == "decimal" {
		fmt.Fprintf(b, `,"precision":%d,"scale":%d`, s.precision, s.scale)
	}
	b.WriteByte('}')
}
