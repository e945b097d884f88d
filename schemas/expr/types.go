package expr

import (
	"fmt"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/hamba/avro/v2"
)

// Type is the type of a variable. It is immutable once made.
type Type struct {
	cel      *types.Type
	op       op
	size     int     // of a fixed; 10 to this power divides a decimal
	unit     int64   // nanoseconds per unit of a time
	elem     *Type   // of an array or a map
	branches []*Type // of a union
	symbols  []ref.Val
	record   *recordType
}

// The types of values that are of no schema, such as attributes of a message.
var (
	StringType    = &Type{cel: types.StringType, op: opString}
	IntType       = &Type{cel: types.IntType, op: opLong}
	BoolType      = &Type{cel: types.BoolType, op: opBool}
	TimestampType = &Type{cel: types.TimestampType, op: opTimestamp, unit: 1}
)

// op is how a value is read.
type op uint8

const (
	opNull op = iota
	opBool
	opLong
	opFloat
	opDouble
	opBytes
	opString
	opFixed
	opDecimalBytes
	opDecimalFixed
	opEnum
	opDate
	opTimestamp
	opDuration
	opArray
	opMap
	opUnion
	opRecord
)

// recordType is a record as the type checker knows it.
type recordType struct {
	cel    *types.Type
	name   string // full name in Avro
	names  []string
	fields []*Type
	index  map[string]int
	access []*types.FieldType
}

// Types makes types of schemas, and programs that use them. It is not for use by
// several goroutines at once; what it makes is.
type Types struct {
	provider *provider
	records  map[*avro.RecordSchema]*Type
}

// NewTypes returns an empty set of types.
func NewTypes() *Types {
	return &Types{provider: newProvider(), records: make(map[*avro.RecordSchema]*Type)}
}

// Of returns the type of a schema's values.
func (t *Types) Of(schema avro.Schema) (*Type, error) {
	switch s := schema.(type) {
	case *avro.RefSchema:
		return t.Of(s.Schema())
	case *avro.NullSchema:
		return &Type{cel: types.NullType, op: opNull}, nil
	case *avro.PrimitiveSchema:
		return primitive(s)
	case *avro.FixedSchema:
		if d, ok := s.Logical().(*avro.DecimalLogicalSchema); ok {
			return &Type{cel: types.DoubleType, op: opDecimalFixed, size: s.Size(), unit: int64(d.Scale())}, nil
		}
		return &Type{cel: types.BytesType, op: opFixed, size: s.Size()}, nil
	case *avro.EnumSchema:
		e := &Type{cel: types.StringType, op: opEnum}
		for _, symbol := range s.Symbols() {
			e.symbols = append(e.symbols, types.String(symbol))
		}
		return e, nil
	case *avro.ArraySchema:
		item, err := t.Of(s.Items())
		if err != nil {
			return nil, err
		}
		return &Type{cel: types.NewListType(item.cel), op: opArray, elem: item}, nil
	case *avro.MapSchema:
		value, err := t.Of(s.Values())
		if err != nil {
			return nil, err
		}
		return &Type{cel: types.NewMapType(types.StringType, value.cel), op: opMap, elem: value}, nil
	case *avro.UnionSchema:
		return t.union(s)
	case *avro.RecordSchema:
		return t.recordOf(s)
	}
	return nil, fmt.Errorf("schemas of type %s are not supported", schema.Type())
}

// NotNull is t without null: of a union of null and a type, the type.
func (t *Type) NotNull() *Type {
	if t.op != opUnion {
		return t
	}
	var only *Type
	for _, b := range t.branches {
		switch {
		case b.op == opNull:
		case only != nil:
			return t
		default:
			only = b
		}
	}
	if only == nil {
		return t
	}
	return only
}

const (
	milli = int64(1e6)
	micro = int64(1e3)
)

func primitive(s *avro.PrimitiveSchema) (*Type, error) {
	var logical avro.LogicalType
	if l := s.Logical(); l != nil {
		logical = l.Type()
	}
	switch logical {
	case avro.Date:
		return &Type{cel: types.TimestampType, op: opDate}, nil
	case avro.TimestampMillis, avro.LocalTimestampMillis:
		return &Type{cel: types.TimestampType, op: opTimestamp, unit: milli}, nil
	case avro.TimestampMicros, avro.LocalTimestampMicros:
		return &Type{cel: types.TimestampType, op: opTimestamp, unit: micro}, nil
	case avro.TimeMillis:
		return &Type{cel: types.DurationType, op: opDuration, unit: milli}, nil
	case avro.TimeMicros:
		return &Type{cel: types.DurationType, op: opDuration, unit: micro}, nil
	case avro.Decimal:
		scale := s.Logical().(*avro.DecimalLogicalSchema).Scale()
		return &Type{cel: types.DoubleType, op: opDecimalBytes, unit: int64(scale)}, nil
	}
	switch s.Type() {
	case avro.Boolean:
		return &Type{cel: types.BoolType, op: opBool}, nil
	case avro.Int, avro.Long:
		return &Type{cel: types.IntType, op: opLong}, nil
	case avro.Float:
		return &Type{cel: types.DoubleType, op: opFloat}, nil
	case avro.Double:
		return &Type{cel: types.DoubleType, op: opDouble}, nil
	case avro.Bytes:
		return &Type{cel: types.BytesType, op: opBytes}, nil
	case avro.String:
		return &Type{cel: types.StringType, op: opString}, nil
	}
	return nil, fmt.Errorf("schemas of type %s are not supported", s.Type())
}

func (t *Types) union(s *avro.UnionSchema) (*Type, error) {
	u := &Type{cel: types.DynType, op: opUnion}
	nullable := false
	for _, b := range s.Types() {
		branch, err := t.Of(b)
		if err != nil {
			return nil, err
		}
		nullable = nullable || branch.op == opNull
		u.branches = append(u.branches, branch)
	}
	only := u.NotNull()
	switch {
	case len(u.branches) == 1:
		u.cel = u.branches[0].cel
	case nullable && only != u:
		u.cel = orNull(only.cel)
	}
	return u, nil
}

// orNull is the type of values that may be null. Of lists and maps the type
// checker knows no such type: there null is asked for with has().
func orNull(t *types.Type) *types.Type {
	switch t.Kind() {
	case types.BoolKind, types.BytesKind, types.DoubleKind, types.IntKind, types.StringKind:
		return types.NewNullableType(t)
	}
	return t
}

func (t *Types) recordOf(s *avro.RecordSchema) (*Type, error) {
	if known, ok := t.records[s]; ok {
		return known, nil
	}
	rec := t.provider.newRecord(s.FullName())
	typ := &Type{cel: rec.cel, op: opRecord, record: rec}
	t.records[s] = typ // before its fields, which may hold it again
	for i, f := range s.Fields() {
		field, err := t.Of(f.Type())
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", s.FullName(), f.Name(), err)
		}
		rec.add(i, f.Name(), field)
	}
	return typ, nil
}
