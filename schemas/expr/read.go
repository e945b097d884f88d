package expr

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Read returns the value of a payload, which is Avro binary of t's schema and
// has passed the codec's checks. What has not is an error here or a wrong value,
// never a panic. Nothing of the value shares memory with the payload.
func (t *Type) Read(payload []byte) (Value, error) {
	r := reader{b: payload}
	v := r.read(t, 0)
	if r.bad || len(r.b) != 0 {
		return Value{}, errors.New("the payload is not a value of its schema")
	}
	return Value{v}, nil
}

// reader takes values off its bytes. Once it is bad what it returns means
// nothing.
type reader struct {
	b   []byte
	bad bool
}

// maxNesting and maxEmpty are above what the codec's limits let through.
const (
	maxNesting = 1 << 10
	maxEmpty   = 1 << 20 // items of an array that take no byte
)

func (r *reader) fail() ref.Val {
	r.bad, r.b = true, nil
	return types.NullValue
}

func (r *reader) read(t *Type, depth int) ref.Val {
	if depth > maxNesting {
		return r.fail()
	}
	switch t.op {
	case opNull:
		return types.NullValue
	case opBool:
		return types.Bool(r.take(1)[0] != 0)
	case opLong:
		return types.Int(r.long())
	case opFloat:
		return types.Double(math.Float32frombits(binary.LittleEndian.Uint32(r.take(4))))
	case opDouble:
		return types.Double(math.Float64frombits(binary.LittleEndian.Uint64(r.take(8))))
	case opBytes:
		return types.Bytes(append([]byte{}, r.bytes()...))
	case opString:
		return types.String(r.bytes())
	case opFixed:
		return types.Bytes(append([]byte{}, r.take(t.size)...))
	case opDecimalBytes:
		return decimal(r.bytes(), t.unit)
	case opDecimalFixed:
		return decimal(r.take(t.size), t.unit)
	case opEnum:
		i := r.long()
		if i < 0 || i >= int64(len(t.symbols)) {
			return r.fail()
		}
		return t.symbols[i]
	case opDate:
		return types.Timestamp{Time: time.Unix(r.long()*86400, 0).UTC()}
	case opTimestamp:
		return types.Timestamp{Time: timestamp(r.long(), t.unit)}
	case opDuration:
		return types.Duration{Duration: time.Duration(r.long() * t.unit)}
	case opUnion:
		i := r.long()
		if i < 0 || i >= int64(len(t.branches)) {
			return r.fail()
		}
		return r.read(t.branches[i], depth+1)
	case opArray:
		return r.array(t, depth)
	case opMap:
		return r.mapping(t, depth)
	default:
		rec := &record{typ: t.record, fields: make([]ref.Val, len(t.record.fields))}
		for i, f := range t.record.fields {
			rec.fields[i] = r.read(f, depth+1)
		}
		return rec
	}
}

// timestamp avoids the overflow that nanoseconds since 1970 have in 2262.
func timestamp(n, unit int64) time.Time {
	perSecond := int64(time.Second) / unit
	return time.Unix(n/perSecond, n%perSecond*unit).UTC()
}

func (r *reader) array(t *Type, depth int) ref.Val {
	var items []ref.Val
	for count := r.block(); count > 0; count = r.block() {
		for range count {
			items = append(items, r.read(t.elem, depth+1))
			if r.bad || len(items) > maxEmpty+len(r.b) {
				return r.fail()
			}
		}
	}
	return &list{Lister: types.NewRefValList(types.DefaultTypeAdapter, items), items: items}
}

func (r *reader) mapping(t *Type, depth int) ref.Val {
	m := &mapping{entries: make(map[ref.Val]ref.Val)}
	for count := r.block(); count > 0; count = r.block() {
		for range count {
			key := types.String(r.bytes())
			value := r.read(t.elem, depth+1)
			if r.bad {
				return r.fail()
			}
			if _, twice := m.entries[key]; !twice {
				m.keys = append(m.keys, key)
			}
			m.entries[key] = value // the last one counts, as for the decoder
		}
	}
	m.Mapper = types.NewRefValMap(types.DefaultTypeAdapter, m.entries)
	return m
}

// block returns the count of a block's items; 0 at the end.
func (r *reader) block() int64 {
	count := r.long()
	if count < 0 {
		r.long() // its size in bytes
		count = -count
	}
	if count < 0 {
		r.fail()
	}
	if r.bad {
		return 0
	}
	return count
}

func (r *reader) long() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) bytes() []byte {
	n := r.long()
	if n < 0 || n > int64(len(r.b)) {
		r.fail()
		return nil
	}
	return r.take(int(n))
}

// take returns the next n bytes; where they are not there, n zeros.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// decimal returns the nearest double. An unscaled number is two's complement,
// big endian.
func decimal(b []byte, scale int64) ref.Val {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	f, _ := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil)).Float64()
	return types.Double(f)
}
