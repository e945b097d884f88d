package expr

import (
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Value is a value that expressions can use. It is immutable.
type Value struct{ v ref.Val }

// String returns a value of StringType.
func String(s string) Value { return Value{types.String(s)} }

// Int returns a value of IntType.
func Int(n int64) Value { return Value{types.Int(n)} }

// Bool returns a value of BoolType.
func Bool(b bool) Value { return Value{types.Bool(b)} }

// Timestamp returns a value of TimestampType.
func Timestamp(t time.Time) Value { return Value{types.Timestamp{Time: t.UTC()}} }

// Null says whether the value is null.
func (v Value) Null() bool { return v.v == types.NullValue }

// Record returns the full name of the record that the value is; false if it is
// none.
func (v Value) Record() (fullName string, ok bool) {
	r, ok := v.v.(*record)
	if !ok {
		return "", false
	}
	return r.typ.name, true
}

// Field returns the i-th field of a record.
func (v Value) Field(i int) Value { return Value{v.v.(*record).fields[i]} }

// Items calls each for the items of an array until it returns false.
func (v Value) Items(each func(i int, item Value) bool) {
	l, ok := v.v.(*list)
	if !ok {
		return
	}
	for i, item := range l.items {
		if !each(i, Value{item}) {
			return
		}
	}
}

// Entries calls each for the entries of a map, in the order of the bytes that it
// was read from, until it returns false.
func (v Value) Entries(each func(key string, value Value) bool) {
	m, ok := v.v.(*mapping)
	if !ok {
		return
	}
	for _, key := range m.keys {
		if !each(string(key.(types.String)), Value{m.entries[key]}) {
			return
		}
	}
}

// list and mapping keep what the library's own types do not give away.
type list struct {
	traits.Lister
	items []ref.Val
}

type mapping struct {
	traits.Mapper
	keys    []ref.Val
	entries map[ref.Val]ref.Val
}

// AggregateSize implements the library's measure of a value.
func (l *list) AggregateSize(sizer types.AggregateSizer) uint32 { return sizeOf(sizer, l.items) }

// AggregateSize implements the library's measure of a value.
func (m *mapping) AggregateSize(sizer types.AggregateSizer) uint32 {
	total := sizeOf(sizer, m.keys)
	for _, v := range m.entries {
		total = min(total, maxSize) + min(sizer.AggregateSize(v), maxSize)
	}
	return total
}

const maxSize = 1 << 30

// sizeOf is what comparing the values costs.
func sizeOf(sizer types.AggregateSizer, values []ref.Val) uint32 {
	total := uint32(1)
	for _, v := range values {
		total = min(total, maxSize) + min(sizer.AggregateSize(v), maxSize)
	}
	return total
}

// record is a record's value in expressions.
type record struct {
	typ    *recordType
	fields []ref.Val
}

// ConvertToNative implements ref.Val.
func (r *record) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s cannot be a %s", r.typ.name, to)
}

// ConvertToType implements ref.Val.
func (r *record) ConvertToType(to ref.Type) ref.Val {
	switch {
	case to == types.TypeType:
		return r.typ.cel
	case to.TypeName() == r.typ.cel.TypeName():
		return r
	}
	return types.NewErr("%s cannot be a %s", r.typ.name, to.TypeName())
}

// Equal implements ref.Val.
func (r *record) Equal(other ref.Val) ref.Val {
	o, ok := other.(*record)
	if !ok || o.typ != r.typ {
		return types.False
	}
	for i, f := range r.fields {
		if types.Equal(f, o.fields[i]) != types.True {
			return types.False
		}
	}
	return types.True
}

// Type implements ref.Val.
func (r *record) Type() ref.Type { return r.typ.cel }

// Value implements ref.Val.
func (r *record) Value() any { return r }

// Get implements traits.Indexer: for values whose type is known only now.
func (r *record) Get(index ref.Val) ref.Val {
	i, ok := r.field(index)
	if !ok {
		return types.NewErr("%s has no field %v", r.typ.name, index.Value())
	}
	return r.fields[i]
}

// IsSet implements traits.FieldTester.
func (r *record) IsSet(field ref.Val) ref.Val {
	i, ok := r.field(field)
	if !ok {
		return types.NewErr("%s has no field %v", r.typ.name, field.Value())
	}
	return types.Bool(r.fields[i] != types.NullValue)
}

func (r *record) field(name ref.Val) (int, bool) {
	s, ok := name.(types.String)
	if !ok {
		return 0, false
	}
	i, ok := r.typ.index[string(s)]
	return i, ok
}

// AggregateSize implements the library's measure of a value.
func (r *record) AggregateSize(sizer types.AggregateSizer) uint32 { return sizeOf(sizer, r.fields) }
