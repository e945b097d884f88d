package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
)

// resolver compiles how values of a writer's schema become values of a reader's,
// by the rules of schema resolution in Avro's specification, and collects what
// stands against it. A value is rewritten as bytes and then decoded by the
// reader's schema alone, so old and new versions go the same way.
type resolver struct {
	pairs    map[planKey]*resolution // of records, which may hold themselves
	path     []string
	problems []Incompatibility
}

// resolution rewrites one part of a value. It is immutable once made.
type resolution struct {
	run func(*rewriter) bool
}

// rewriter walks a writer's value, which has passed its own walk, and appends the
// reader's.
type rewriter struct {
	walker
	out []byte
}

// rewrite returns a payload as the reader's schema has it, or what is wrong.
func (r *resolution) rewrite(payload []byte, limits *Limits) (out []byte, problem string) {
	w := rewriter{walker: walker{b: payload, limits: limits}, out: make([]byte, 0, len(payload)+64)}
	if !r.run(&w) {
		return nil, w.problem
	}
	return w.out, ""
}

// resolve returns how what writer wrote is read as reader. Only what stands against
// every value is an error.
func resolve(writer, reader avro.Schema) (*resolution, error) {
	c := newResolver()
	r := c.resolve(writer, reader)
	c.problems = slices.DeleteFunc(c.problems, func(i Incompatibility) bool { return i.partly })
	if len(c.problems) > 0 {
		return nil, errors.New(reasons(c.problems))
	}
	return r, nil
}

func newResolver() *resolver { return &resolver{pairs: make(map[planKey]*resolution)} }

// resolve compiles a resolution and reports what stands against it. Where a value
// decides, the resolution refuses those that cannot be read.
func (c *resolver) resolve(writer, reader avro.Schema) *resolution {
	writer, reader = deref(writer), deref(reader)
	if w, ok := writer.(*avro.UnionSchema); ok {
		return c.fromUnion(w, reader)
	}
	if r, ok := reader.(*avro.UnionSchema); ok {
		return c.toUnion(writer, r)
	}
	c.sameLogical(writer, reader)
	if promoted := promotion(writer.Type(), reader.Type()); promoted != nil {
		return &resolution{promoted}
	}
	if writer.Type() != reader.Type() {
		return c.against(RuleType, fmt.Sprintf("%s cannot be read as %s", describe(writer), describe(reader)),
			"keep the type, or give the field a new name with a default")
	}
	switch w := writer.(type) {
	case *avro.RecordSchema:
		return c.record(w, reader.(*avro.RecordSchema))
	case *avro.ArraySchema:
		return &resolution{blocks(c.below("[]", w.Items(), reader.(*avro.ArraySchema).Items()), false)}
	case *avro.MapSchema:
		return &resolution{blocks(c.below("{}", w.Values(), reader.(*avro.MapSchema).Values()), true)}
	case *avro.EnumSchema:
		return c.enum(w, reader.(*avro.EnumSchema))
	case *avro.FixedSchema:
		r := reader.(*avro.FixedSchema)
		c.sameName(w, r, r.Aliases())
		if w.Size() != r.Size() {
			return c.against(RuleSize, fmt.Sprintf("%d bytes cannot be read as %d", w.Size(), r.Size()), "a fixed of another size needs a new name")
		}
	}
	return c.copied(writer)
}

// against notes what stands against a resolution.
func (c *resolver) against(rule Rule, problem, remedy string) *resolution {
	c.note(Incompatibility{Rule: rule, Problem: problem, Remedy: remedy})
	return &resolution{func(w *rewriter) bool { return w.fail(problem) }}
}

func (c *resolver) note(i Incompatibility) {
	i.Path = strings.TrimPrefix(strings.Join(c.path, ""), ".")
	c.problems = append(c.problems, i)
}

func (c *resolver) below(step string, writer, reader avro.Schema) *resolution {
	c.path = append(c.path, step)
	defer func() { c.path = c.path[:len(c.path)-1] }()
	return c.resolve(writer, reader)
}

// copied passes a value on as it is.
func (c *resolver) copied(schema avro.Schema) *resolution {
	p, err := newWalkPlan(schema)
	if err != nil {
		return c.against(RuleType, err.Error(), "use another type")
	}
	return &resolution{func(w *rewriter) bool {
		start := w.pos
		if !w.walk(p, 0) {
			return false
		}
		w.out = append(w.out, w.b[start:w.pos]...)
		return true
	}}
}

// sameName demands it of named types: unqualified, or that the reader has the
// writer's full name as an alias.
func (c *resolver) sameName(writer, reader avro.NamedSchema, aliases []string) {
	if writer.Name() != reader.Name() && !slices.Contains(aliases, writer.FullName()) {
		c.against(RuleName, fmt.Sprintf("%s is not %s", writer.FullName(), reader.FullName()), "keep the name, or have the old one as an alias")
	}
}

// sameLogical demands that what a number means stays: its unit, or a decimal's
// scale. A logical type may come or go.
func (c *resolver) sameLogical(writer, reader avro.Schema) {
	w, r := logicalOf(writer), logicalOf(reader)
	if w == nil || r == nil || writer.Type() != reader.Type() {
		return
	}
	said := func(l avro.LogicalSchema) string {
		if d, ok := l.(*avro.DecimalLogicalSchema); ok {
			return fmt.Sprintf("decimal of scale %d", d.Scale()) // its precision only bounds it
		}
		return strings.TrimPrefix(string(l.Type()), "local-")
	}
	if said(w) != said(r) {
		c.against(RuleLogical, fmt.Sprintf("%s would be read as %s", said(w), said(r)), "keep the logical type, or give the field a new name with a default")
	}
}

func (c *resolver) enum(w, r *avro.EnumSchema) *resolution {
	c.sameName(w, r, r.Aliases())
	symbols := make([]int, len(w.Symbols()))
	var missing []string
	for i, symbol := range w.Symbols() {
		symbols[i] = slices.Index(r.Symbols(), symbol)
		if symbols[i] < 0 && r.HasDefault() {
			symbols[i] = slices.Index(r.Symbols(), r.Default())
		}
		if symbols[i] < 0 {
			missing = append(missing, symbol)
		}
	}
	if len(missing) > 0 {
		c.note(Incompatibility{
			Rule: RuleSymbols, Problem: fmt.Sprintf("%s does not have %s", r.FullName(), strings.Join(missing, ", ")),
			Remedy: "keep the symbols, or give the enum a default", partly: true,
		})
	}
	return &resolution{func(rw *rewriter) bool {
		i, ok := rw.int()
		if !ok {
			return false
		}
		if symbols[i] < 0 {
			return rw.fail(fmt.Sprintf("%s does not have the symbol %s", r.FullName(), w.Symbols()[i]))
		}
		rw.out = binary.AppendVarint(rw.out, int64(symbols[i]))
		return true
	}}
}

// fromUnion reads each branch of the writer's.
func (c *resolver) fromUnion(w *avro.UnionSchema, reader avro.Schema) *resolution {
	branches := make([]*resolution, len(w.Types()))
	for i, t := range w.Types() {
		known := len(c.problems)
		branches[i] = c.resolve(t, reader)
		for j := range c.problems[known:] {
			c.problems[known+j].partly = true // values of the other branches can be read
		}
	}
	return &resolution{func(rw *rewriter) bool {
		i, ok := rw.int()
		return ok && branches[i].run(rw)
	}}
}

// toUnion picks the reader's branch: of the writer's own type first, then the first
// that the value can be promoted to.
func (c *resolver) toUnion(writer avro.Schema, r *avro.UnionSchema) *resolution {
	var own []*resolver // that have tried the branches of the writer's own type
	var met *resolution
	for _, exact := range []bool{true, false} {
		for i, t := range r.Types() {
			t = deref(t)
			if exact != (t.Type() == writer.Type()) {
				continue
			}
			try := &resolver{pairs: maps.Clone(c.pairs), path: slices.Clone(c.path)}
			to := branchOf(i, try.resolve(writer, t))
			if len(try.problems) == 0 {
				c.pairs = try.pairs
				return to
			}
			if exact {
				own, met = append(own, try), to
			}
		}
	}
	if len(own) == 1 { // it is meant, and what stands against it is below
		c.pairs, c.problems = own[0].pairs, append(c.problems, own[0].problems...)
		return met
	}
	return c.against(RuleBranch, fmt.Sprintf("the union has no branch for %s", describe(writer)), "add it to the union")
}

func branchOf(i int, to *resolution) *resolution {
	return &resolution{func(rw *rewriter) bool {
		rw.out = binary.AppendVarint(rw.out, int64(i))
		return to.run(rw)
	}}
}

// blocks rewrites an array or a map, in blocks of the same counts.
func blocks(item *resolution, keyed bool) func(*rewriter) bool {
	return func(rw *rewriter) bool {
		for {
			count, ok := rw.long()
			if !ok {
				return false
			}
			if count < 0 { // its size in bytes follows, and is another one here
				count = -count
				if _, ok := rw.long(); !ok {
					return false
				}
			}
			rw.out = binary.AppendVarint(rw.out, count)
			if count == 0 {
				return true
			}
			for range count {
				if keyed {
					key, ok := rw.bytes()
					if !ok {
						return false
					}
					rw.out = appendBytes(rw.out, key)
				}
				if !item.run(rw) {
					return false
				}
			}
		}
	}
}

// promotion returns how a value of one primitive type becomes one of another, or
// nil where it does not.
func promotion(writer, reader avro.Type) func(*rewriter) bool {
	switch {
	case writer == avro.Int && reader == avro.Long:
		return func(rw *rewriter) bool {
			n, ok := rw.int()
			rw.out = binary.AppendVarint(rw.out, int64(n))
			return ok
		}
	case (writer == avro.Int || writer == avro.Long) && reader == avro.Float:
		return func(rw *rewriter) bool {
			n, ok := rw.long()
			rw.out = binary.LittleEndian.AppendUint32(rw.out, math.Float32bits(float32(n)))
			return ok
		}
	case (writer == avro.Int || writer == avro.Long) && reader == avro.Double:
		return func(rw *rewriter) bool {
			n, ok := rw.long()
			rw.out = binary.LittleEndian.AppendUint64(rw.out, math.Float64bits(float64(n)))
			return ok
		}
	case writer == avro.Float && reader == avro.Double:
		return func(rw *rewriter) bool {
			b, ok := rw.fixed(4)
			if ok {
				f := math.Float32frombits(binary.LittleEndian.Uint32(b))
				rw.out = binary.LittleEndian.AppendUint64(rw.out, math.Float64bits(float64(f)))
			}
			return ok
		}
	case writer == avro.String && reader == avro.Bytes, writer == avro.Bytes && reader == avro.String:
		return func(rw *rewriter) bool {
			b, ok := rw.bytes()
			if ok && reader == avro.String && !utf8.Valid(b) {
				return rw.fail("bytes that are to be read as a string are not UTF-8")
			}
			rw.out = appendBytes(rw.out, b)
			return ok
		}
	}
	return nil
}

// describe is a schema for an error text.
func describe(s avro.Schema) string {
	if _, ok := s.(avro.NamedSchema); ok {
		return string(s.Type()) + " " + FullName(s)
	}
	return string(s.Type())
}

func deref(s avro.Schema) avro.Schema {
	if ref, ok := s.(*avro.RefSchema); ok {
		return ref.Schema()
	}
	return s
}
