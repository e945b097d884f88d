package schemas

import (
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"
)

// part is what becomes of one of the writer's fields.
type part struct {
	to    int // the reader's field; -1: none has it
	value *resolution
	skip  *walkPlan // instead of value
}

// span is where a field lies in what was written.
type span struct{ start, end int }

func (c *resolver) record(w, r *avro.RecordSchema) *resolution {
	known := planKey{writer: w, reader: r}
	if done, ok := c.pairs[known]; ok {
		return done
	}
	done := &resolution{}
	c.pairs[known] = done // before its fields, which may hold it again
	c.sameName(w, r, r.Aliases())

	parts := make([]part, len(w.Fields()))
	taken := make([]bool, len(r.Fields()))
	for i, field := range w.Fields() {
		to := readerField(r, field.Name(), taken)
		if to < 0 {
			skip, err := newWalkPlan(field.Type())
			if err != nil {
				c.against(RuleType, err.Error(), "use another type")
			}
			parts[i] = part{to: -1, skip: skip}
			continue
		}
		taken[to] = true
		parts[i] = part{to: to, value: c.below("."+r.Fields()[to].Name(), field.Type(), r.Fields()[to].Type())}
	}
	defaults := make([][]byte, len(r.Fields()))
	for i, field := range r.Fields() {
		if !taken[i] {
			defaults[i] = c.defaultOf(field)
		}
	}
	done.run = func(rw *rewriter) bool { return rewriteRecord(rw, parts, defaults) }
	return done
}

// readerField is the reader's field for one of the writer's: by its name, else by
// an alias.
func readerField(r *avro.RecordSchema, name string, taken []bool) int {
	for i, f := range r.Fields() {
		if f.Name() == name {
			return i
		}
	}
	for i, f := range r.Fields() {
		if !taken[i] && slices.Contains(f.Aliases(), name) {
			return i
		}
	}
	return -1
}

// defaultOf is the value of a field that the writer does not have.
func (c *resolver) defaultOf(f *avro.Field) []byte {
	c.path = append(c.path, "."+f.Name())
	defer func() { c.path = c.path[:len(c.path)-1] }()
	if !f.HasDefault() {
		c.against(RuleDefault, fmt.Sprintf("the reader has the field %s, the writer has not, and there is no default", f.Name()), "give field "+f.Name()+" a default")
		return nil
	}
	var b []byte
	typ := f.Type()
	if u, ok := typ.(*avro.UnionSchema); ok { // a default is of the first branch
		b, typ = append(b, 0), u.Types()[0]
	}
	b, err := appendJSON(b, typ, jsonDefault(f.Default()), f.Name())
	if err != nil {
		c.against(RuleDefault, fmt.Sprintf("the default cannot be used: %v", err), "mend the default")
	}
	return b
}

// rewriteRecord appends the writer's fields as they come and then puts them in the
// reader's order, with the defaults between.
func rewriteRecord(rw *rewriter, parts []part, defaults [][]byte) bool {
	start := len(rw.out)
	spans := make([]span, len(defaults))
	inOrder := len(parts) == len(defaults)
	for i, p := range parts {
		if p.to < 0 {
			if inOrder = false; !rw.walk(p.skip, 0) {
				return false
			}
			continue
		}
		inOrder = inOrder && p.to == i
		from := len(rw.out)
		if !p.value.run(rw) {
			return false
		}
		spans[p.to] = span{from, len(rw.out)}
	}
	if inOrder {
		return true
	}
	written := slices.Clone(rw.out[start:])
	rw.out = rw.out[:start]
	for i, d := range defaults {
		if d != nil || spans[i] == (span{}) {
			rw.out = append(rw.out, d...)
		} else {
			rw.out = append(rw.out, written[spans[i].start-start:spans[i].end-start]...)
		}
	}
	if len(rw.out) > rw.limits.MaxBytes {
		return rw.fail("with the reader's defaults the payload is too large")
	}
	return true
}
