package schemas

import (
	"fmt"
	"math"
	"math/big"
	"time"
	"unicode/utf8"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/rules"
)

// Limits bound what a value may cost to decode and to hold to its rules. A
// field's zero value stands for its default.
type Limits struct {
	MaxBytes     int // payload size in bytes; 8 MiB
	MaxItems     int // items of all arrays and maps of a value together; 1,048,576
	MaxZeroWidth int // those of them that take no byte on the wire, such as null; 4,096
	MaxDepth     int // nesting of records, arrays, maps and unions; 64
	MaxRuleCost  int // of all rules of a value together, in units of expr.Budget; 1,000,000
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxBytes, 8<<20)
	def(&l.MaxItems, 1<<20)
	def(&l.MaxZeroWidth, 4<<10)
	def(&l.MaxDepth, 64)
	def(&l.MaxRuleCost, rules.DefaultCost)
	return l
}

// op is how the walk passes over one part of a value.
type op uint8

const (
	opNull op = iota
	opBool
	opInt
	opLong
	opFixed // size bytes; also float and double
	opBytes
	opString
	opEnum   // size symbols
	opRecord // parts are the fields
	opArray  // parts[0] is the item
	opMap    // parts[0] is the value
	opUnion  // parts are the branches

	// A decimal in bytes of any number, or in a fixed of size bytes.
	opDecimalBytes
	opDecimalFixed

	opTimeMicros // a long whose nanoseconds fit into one
)

// walkPlan is a writer's schema in a form that is quick to walk. It is
// immutable once made.
type walkPlan struct {
	op    op
	size  int
	min   int // fewest bytes that a value takes; a lower bound where the schema is recursive
	parts []*walkPlan
	bound *big.Int // 10 to the precision of a decimal
}

// newWalkPlan returns the plan of a schema.
func newWalkPlan(schema avro.Schema) (*walkPlan, error) {
	c := walkCompiler{records: map[*avro.RecordSchema]*walkPlan{}}
	return c.compile(schema)
}

type walkCompiler struct {
	records map[*avro.RecordSchema]*walkPlan
}

func (c *walkCompiler) compile(schema avro.Schema) (*walkPlan, error) {
	switch s := schema.(type) {
	case *avro.RefSchema:
		return c.compile(s.Schema())
	case *avro.NullSchema:
		return &walkPlan{op: opNull}, nil
	case *avro.PrimitiveSchema:
		return compilePrimitive(s)
	case *avro.FixedSchema:
		p := &walkPlan{op: opFixed, size: s.Size(), min: s.Size()}
		return p.decimal(opDecimalFixed, s.Logical())
	case *avro.EnumSchema:
		return &walkPlan{op: opEnum, size: len(s.Symbols()), min: 1}, nil
	case *avro.ArraySchema:
		return c.parts(&walkPlan{op: opArray, min: 1}, s.Items())
	case *avro.MapSchema:
		return c.parts(&walkPlan{op: opMap, min: 1}, s.Values())
	case *avro.UnionSchema:
		return c.parts(&walkPlan{op: opUnion, min: 1}, s.Types()...)
	case *avro.RecordSchema:
		return c.record(s)
	default:
		return nil, fmt.Errorf("schemas of type %s are not supported", schema.Type())
	}
}

func compilePrimitive(s *avro.PrimitiveSchema) (*walkPlan, error) {
	switch s.Type() {
	case avro.Boolean:
		return &walkPlan{op: opBool, min: 1}, nil
	case avro.Int:
		return &walkPlan{op: opInt, min: 1}, nil
	case avro.Long:
		if l := s.Logical(); l != nil && l.Type() == avro.TimeMicros {
			return &walkPlan{op: opTimeMicros, min: 1}, nil
		}
		return &walkPlan{op: opLong, min: 1}, nil
	case avro.Float:
		return &walkPlan{op: opFixed, size: 4, min: 4}, nil
	case avro.Double:
		return &walkPlan{op: opFixed, size: 8, min: 8}, nil
	case avro.Bytes:
		p := &walkPlan{op: opBytes, min: 1}
		return p.decimal(opDecimalBytes, s.Logical())
	case avro.String:
		return &walkPlan{op: opString, min: 1}, nil
	default:
		return nil, fmt.Errorf("schemas of type %s are not supported", s.Type())
	}
}

// maxPrecision bounds the digits of a decimal: its powers of ten are calculated.
const maxPrecision = 1000

// decimal makes p the plan of a decimal, where the logical type is one.
func (p *walkPlan) decimal(as op, logical avro.LogicalSchema) (*walkPlan, error) {
	if d, ok := logical.(*avro.DecimalLogicalSchema); ok {
		if d.Precision() > maxPrecision {
			return nil, fmt.Errorf("decimals of more than %d digits are not supported", maxPrecision)
		}
		p.op = as
		p.bound = new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Precision())), nil)
	}
	return p, nil
}

func (c *walkCompiler) parts(p *walkPlan, schemas ...avro.Schema) (*walkPlan, error) {
	p.parts = make([]*walkPlan, 0, len(schemas))
	for _, s := range schemas {
		part, err := c.compile(s)
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, part)
	}
	return p, nil
}

func (c *walkCompiler) record(s *avro.RecordSchema) (*walkPlan, error) {
	if p, ok := c.records[s]; ok {
		return p, nil
	}
	p := &walkPlan{op: opRecord}
	c.records[s] = p // before its fields, which may hold it again
	types := make([]avro.Schema, 0, len(s.Fields()))
	for _, f := range s.Fields() {
		types = append(types, f.Type())
	}
	if _, err := c.parts(p, types...); err != nil {
		return nil, err
	}
	for _, part := range p.parts {
		p.min += part.min
	}
	return p, nil
}

// check walks a payload and says what is wrong with it, or nothing. It
// allocates next to nothing but the message, takes time linear in the payload, and
// passes only what the decoder can read without a surprise: every length and
// count is covered by bytes that are there, and every byte is used.
func (p *walkPlan) check(payload []byte, limits *Limits) string {
	if len(payload) > limits.MaxBytes {
		return fmt.Sprintf("the payload has %d bytes, allowed are %d", len(payload), limits.MaxBytes)
	}
	w := walker{b: payload, limits: limits}
	if !w.walk(p, 0) {
		return fmt.Sprintf("at byte %d of %d: %s", w.pos, len(payload), w.problem)
	}
	if w.pos != len(payload) {
		return fmt.Sprintf("the value ends at byte %d of %d", w.pos, len(payload))
	}
	return ""
}

type walker struct {
	b       []byte
	pos     int
	items   int
	zero    int
	limits  *Limits
	problem string
}

func (w *walker) fail(problem string) bool {
	if w.problem == "" {
		w.problem = problem
	}
	return false
}

func (w *walker) walk(p *walkPlan, depth int) bool {
	switch p.op {
	case opNull:
		return true
	case opBool:
		if w.pos >= len(w.b) {
			return w.fail("cut off in a boolean")
		}
		if w.b[w.pos] > 1 {
			return w.fail("a boolean is neither 0 nor 1")
		}
		w.pos++
		return true
	case opInt:
		_, ok := w.int()
		return ok
	case opLong:
		_, ok := w.long()
		return ok
	case opTimeMicros:
		// The decoder makes a time.Duration of it and does not see that it is
		// too large for one.
		n, ok := w.long()
		if most := math.MaxInt64 / int64(time.Microsecond); ok && (n > most || n < -most) {
			return w.fail("a time of day is out of range")
		}
		return ok
	case opFixed:
		_, ok := w.fixed(p.size)
		return ok
	case opDecimalFixed:
		b, ok := w.fixed(p.size)
		return ok && w.decimal(b, p.bound)
	case opDecimalBytes:
		b, ok := w.bytes()
		return ok && w.decimal(b, p.bound)
	case opBytes:
		_, ok := w.bytes()
		return ok
	case opString:
		return w.string()
	case opEnum:
		i, ok := w.int()
		if ok && (i < 0 || int(i) >= p.size) {
			return w.fail("an enum has no such symbol")
		}
		return ok
	}
	if depth >= w.limits.MaxDepth {
		return w.fail("nested too deep")
	}
	switch p.op {
	case opRecord:
		for _, part := range p.parts {
			if !w.walk(part, depth+1) {
				return false
			}
		}
		return true
	case opUnion:
		// The decoder reads the branch as an int, whatever the specification
		// allows: take nothing that it would read otherwise.
		i, ok := w.int()
		if !ok {
			return false
		}
		if i < 0 || int(i) >= len(p.parts) {
			return w.fail("a union has no such branch")
		}
		return w.walk(p.parts[i], depth+1)
	default:
		return w.blocks(p, depth)
	}
}

// blocks walks an array or a map: blocks of a count and as many items, a
// negative count followed by the block's size in bytes, a zero count at the
// end.
func (w *walker) blocks(p *walkPlan, depth int) bool {
	item := p.parts[0]
	width := item.min
	if p.op == opMap {
		width++ // the key's length
	}
	for {
		count, ok := w.long()
		if !ok || count == 0 {
			return ok
		}
		end := -1
		if count < 0 {
			if count == math.MinInt64 {
				return w.fail("a block's count is out of range")
			}
			count = -count
			size, ok := w.long()
			if !ok {
				return false
			}
			if size < 0 || size > int64(len(w.b)-w.pos) {
				return w.fail("a block's size is more than what is left")
			}
			end = w.pos + int(size)
		}
		if !w.charge(count, width) {
			return false
		}
		for range count {
			if p.op == opMap && !w.string() {
				return false
			}
			if !w.walk(item, depth+1) {
				return false
			}
		}
		if end >= 0 && w.pos != end {
			return w.fail("a block's size is not that of its items")
		}
	}
}

// charge admits count items of at least width bytes each, before the decoder
// makes room for them.
func (w *walker) charge(count int64, width int) bool {
	if width > 0 && count > int64(len(w.b)-w.pos)/int64(width) {
		return w.fail("a block has more items than bytes are left for")
	}
	if width == 0 {
		if count > int64(w.limits.MaxZeroWidth-w.zero) {
			return w.fail("too many items that take no byte")
		}
		w.zero += int(count)
	}
	if count > int64(w.limits.MaxItems-w.items) {
		return w.fail("too many items")
	}
	w.items += int(count)
	return true
}

// decimal checks the digits of an unscaled decimal, two's complement, big
// endian. Without it a sender could have a number of any length calculated.
func (w *walker) decimal(b []byte, bound *big.Int) bool {
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:] // the sign again
	}
	if len(b) <= (bound.BitLen()-1)/8 {
		return true // too short to reach the bound
	}
	if len(b) > bound.BitLen()/8+1 {
		return w.fail("a decimal has more digits than its precision")
	}
	n := new(big.Int).SetBytes(b)
	if b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if n.CmpAbs(bound) >= 0 {
		return w.fail("a decimal has more digits than its precision")
	}
	return true
}

func (w *walker) fixed(size int) ([]byte, bool) {
	if size > len(w.b)-w.pos {
		return nil, w.fail("cut off in a value of fixed size")
	}
	start := w.pos
	w.pos += size
	return w.b[start:w.pos], true
}

func (w *walker) bytes() ([]byte, bool) {
	n, ok := w.long()
	if !ok {
		return nil, false
	}
	if n < 0 {
		return nil, w.fail("a length is negative")
	}
	if n > int64(len(w.b)-w.pos) {
		return nil, w.fail("a length is more than what is left")
	}
	start := w.pos
	w.pos += int(n)
	return w.b[start:w.pos], true
}

func (w *walker) string() bool {
	s, ok := w.bytes()
	if ok && !utf8.Valid(s) {
		return w.fail("a string is not UTF-8")
	}
	return ok
}

// int reads a zigzag number of 32 bits. What the decoder would cut off in
// silence is refused.
func (w *walker) int() (int32, bool) {
	n, ok := w.varint(5, math.MaxUint32)
	return int32(uint32(n)>>1) ^ -int32(n&1), ok
}

// long reads a zigzag number of 64 bits.
func (w *walker) long() (int64, bool) {
	n, ok := w.varint(10, math.MaxUint64)
	return int64(n>>1) ^ -int64(n&1), ok
}

func (w *walker) varint(maxBytes int, maxValue uint64) (uint64, bool) {
	// Most numbers take one byte.
	if w.pos < len(w.b) && w.b[w.pos] < 0x80 {
		n := uint64(w.b[w.pos])
		w.pos++
		return n, true
	}
	var n uint64
	for i := range maxBytes {
		if w.pos+i >= len(w.b) {
			return 0, w.fail("cut off in a number")
		}
		c := w.b[w.pos+i]
		part := uint64(c & 0x7f)
		if i == 9 && part > 1 {
			break // more than 64 bits
		}
		n |= part << (7 * i)
		if c < 0x80 {
			if n > maxValue {
				break
			}
			w.pos += i + 1
			return n, true
		}
	}
	return 0, w.fail("a number is too large")
}
