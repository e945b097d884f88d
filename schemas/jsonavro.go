package schemas

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hamba/avro/v2"
)

// appendJSON appends a value of parseJSON as Avro binary.
func appendJSON(dst []byte, schema avro.Schema, v any, path string) ([]byte, error) {
	switch s := schema.(type) {
	case *avro.RefSchema:
		return appendJSON(dst, s.Schema(), v, path)
	case *avro.RecordSchema:
		return appendJSONRecord(dst, s, v, path)
	case *avro.ArraySchema:
		items, ok := v.([]any)
		if !ok {
			return nil, notA(path, v, "an array")
		}
		return appendJSONItems(dst, len(items), func(dst []byte, i int) ([]byte, error) {
			return appendJSON(dst, s.Items(), items[i], fmt.Sprintf("%s[%d]", path, i))
		})
	case *avro.MapSchema:
		o, ok := v.(*jsonObject)
		if !ok {
			return nil, notA(path, v, "an object")
		}
		return appendJSONItems(dst, len(o.keys), func(dst []byte, i int) ([]byte, error) {
			return appendJSON(appendBytes(dst, []byte(o.keys[i])), s.Values(), o.values[o.keys[i]], fieldPath(path, o.keys[i]))
		})
	case *avro.UnionSchema:
		return appendJSONUnion(dst, s, v, path)
	}
	dst, err := appendJSONScalar(dst, schema, v)
	if err != nil {
		return nil, &JSONError{Path: path, Problem: err.Error()}
	}
	return dst, nil
}

func notA(path string, v any, want string) error {
	return &JSONError{Path: path, Problem: shown(v) + " is not " + want}
}

// shown is a JSON value for an error text.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case *jsonObject:
		return "an object"
	case []any:
		return "an array"
	case string:
		return quote([]byte(v))
	case json.Number:
		return clip(string(v), 64)
	}
	return fmt.Sprint(v)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// appendJSONItems appends one block of n items and the end of blocks.
func appendJSONItems(dst []byte, n int, item func([]byte, int) ([]byte, error)) ([]byte, error) {
	if n > 0 {
		dst = binary.AppendVarint(dst, int64(n))
	}
	for i := range n {
		var err error
		if dst, err = item(dst, i); err != nil {
			return nil, err
		}
	}
	return append(dst, 0), nil
}

func appendJSONRecord(dst []byte, s *avro.RecordSchema, v any, path string) ([]byte, error) {
	o, ok := v.(*jsonObject)
	if !ok {
		return nil, notA(path, v, "an object with the fields of "+s.FullName())
	}
	known := make(map[string]bool, len(s.Fields()))
	names := make([]string, len(s.Fields()))
	for i, f := range s.Fields() {
		known[f.Name()], names[i] = true, f.Name()
	}
	for _, key := range o.keys {
		if !known[key] {
			return nil, &JSONError{Path: fieldPath(path, key), Problem: "there is no such field in " + s.FullName() + "; it has " + strings.Join(names, ", ")}
		}
	}
	for _, f := range s.Fields() {
		value, given := o.values[f.Name()]
		typ := f.Type()
		switch {
		case given:
		case !f.HasDefault():
			return nil, &JSONError{Path: fieldPath(path, f.Name()), Problem: "is missing, and " + s.FullName() + " has no default for it"}
		default:
			value = jsonDefault(f.Default())
			// A default is of the first branch, whatever another would take.
			if u, ok := typ.(*avro.UnionSchema); ok {
				dst, typ = append(dst, 0), u.Types()[0]
			}
		}
		var err error
		if dst, err = appendJSON(dst, typ, value, fieldPath(path, f.Name())); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func appendJSONUnion(dst []byte, s *avro.UnionSchema, v any, path string) ([]byte, error) {
	branch := func(i int, v any, path string) ([]byte, error) {
		// Cut the capacity: a branch that fails must not have written over
		// what another one appends.
		return appendJSON(binary.AppendVarint(dst[:len(dst):len(dst)], int64(i)), s.Types()[i], v, path)
	}
	var names []string
	var failed []error
	for i, t := range s.Types() {
		names = append(names, branchNames(t)[0])
		if o, ok := v.(*jsonObject); ok && len(o.keys) == 1 {
			for _, name := range branchNames(t) {
				if o.keys[0] == name {
					return branch(i, o.values[name], fieldPath(path, name))
				}
			}
		}
	}
	for i, t := range s.Types() {
		if (v == nil) != (t.Type() == avro.Null) {
			continue
		}
		out, err := branch(i, v, path)
		if err == nil {
			return out, nil
		}
		failed = append(failed, err)
	}
	if len(failed) == 1 {
		return nil, failed[0]
	}
	return nil, &JSONError{Path: path, Problem: shown(v) + " fits no branch of the union: " + strings.Join(names, ", ")}
}

// branchNames are the names of a union's branch: as Avro's own JSON encoding
// has it, and as DecodeAny shows it.
func branchNames(t avro.Schema) []string {
	if ref, ok := t.(*avro.RefSchema); ok {
		t = ref.Schema()
	}
	if _, ok := t.(avro.NamedSchema); ok {
		return []string{FullName(t)}
	}
	name := string(t.Type())
	if l := logicalOf(t); l != nil {
		return []string{name, name + "." + string(l.Type())}
	}
	return []string{name}
}

func logicalOf(t avro.Schema) avro.LogicalSchema {
	if l, ok := t.(avro.LogicalTypeSchema); ok {
		return l.Logical()
	}
	return nil
}

func appendJSONScalar(dst []byte, schema avro.Schema, v any) ([]byte, error) {
	wrong := func(want string) error { return fmt.Errorf("%s is not %s", shown(v), want) }
	if d, ok := logicalOf(schema).(*avro.DecimalLogicalSchema); ok {
		return appendJSONDecimal(dst, schema, d, v)
	}
	switch schema.Type() {
	case avro.Null:
		if v != nil && reflect.TypeOf(v).Kind() != reflect.Struct { // a nested default of null is a type of its own
			return nil, wrong("null")
		}
		return dst, nil
	case avro.Boolean:
		b, ok := v.(bool)
		if !ok {
			return nil, wrong("true or false")
		}
		if b {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case avro.Int, avro.Long:
		n, err := jsonInteger(schema, v)
		return binary.AppendVarint(dst, n), err
	case avro.Float:
		f, err := jsonFloat(v, 32)
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), err
	case avro.Double:
		f, err := jsonFloat(v, 64)
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), err
	case avro.String:
		s, ok := v.(string)
		if !ok {
			return nil, wrong("a string")
		}
		return appendBytes(dst, []byte(s)), nil
	case avro.Bytes:
		b, err := jsonBytes(v)
		return appendBytes(dst, b), err
	case avro.Fixed:
		if l := logicalOf(schema); l != nil && l.Type() == avro.Duration {
			if o, ok := v.(*jsonObject); ok {
				return appendJSONDuration(dst, o)
			}
		}
		b, err := jsonFixed(v, schema.(*avro.FixedSchema).Size())
		return append(dst, b...), err
	case avro.Enum:
		symbols := schema.(*avro.EnumSchema).Symbols()
		for i, symbol := range symbols {
			if v == any(symbol) {
				return binary.AppendVarint(dst, int64(i)), nil
			}
		}
		return nil, wrong("a symbol of " + FullName(schema) + "; it has " + strings.Join(symbols, ", "))
	}
	return nil, fmt.Errorf("schemas of type %s are not supported", schema.Type())
}

// jsonInteger returns the number of an int or long, with or without a logical
// type.
func jsonInteger(schema avro.Schema, v any) (int64, error) {
	bits := 64
	if schema.Type() == avro.Int {
		bits = 32
	}
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, bits)
		if err != nil {
			return 0, fmt.Errorf("%s is not a whole number of %d bits", shown(v), bits)
		}
		return n, nil
	case string:
		if l := logicalOf(schema); l != nil {
			return jsonTime(l.Type(), v)
		}
	}
	return 0, fmt.Errorf("%s is not a whole number", shown(v))
}

// jsonTime returns the number that Avro has for a time's text. A text that is
// finer than the type is refused.
func jsonTime(logical avro.LogicalType, s string) (int64, error) {
	units := map[avro.LogicalType]time.Duration{
		avro.TimeMillis: time.Millisecond, avro.TimeMicros: time.Microsecond,
		avro.TimestampMillis: time.Millisecond, avro.TimestampMicros: time.Microsecond,
		avro.LocalTimestampMillis: time.Millisecond, avro.LocalTimestampMicros: time.Microsecond,
	}
	unit := units[logical]
	finer := fmt.Errorf("%s is finer than %s", shown(s), unit)
	switch logical {
	case avro.TimeMillis, avro.TimeMicros:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d >= 24*time.Hour {
			return 0, fmt.Errorf("%s is not a time of day such as 1h30m", shown(s))
		}
		if d%unit != 0 {
			return 0, finer
		}
		return int64(d / unit), nil
	case avro.Date:
		t, err := parseTime(time.DateOnly, strings.TrimSuffix(s, "T00:00:00Z"))
		days := t.Unix() / 86400
		if err != nil || days != int64(int32(days)) {
			return 0, fmt.Errorf("%s is not a date such as 2006-01-02", shown(s))
		}
		return days, nil
	case avro.TimestampMillis, avro.TimestampMicros, avro.LocalTimestampMillis, avro.LocalTimestampMicros:
	default:
		return 0, fmt.Errorf("%s is not a whole number", shown(s))
	}
	t, err := parseTime(time.RFC3339Nano, s)
	local := logical == avro.LocalTimestampMillis || logical == avro.LocalTimestampMicros
	if err != nil && local {
		t, err = parseTime("2006-01-02T15:04:05.999999999", s)
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not a time of RFC 3339", shown(s))
	}
	if local { // the clock on the wall counts, wherever it hangs
		t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	}
	if t.Nanosecond()%int(unit) != 0 {
		return 0, finer
	}
	n, back := t.UnixMilli(), time.UnixMilli
	if unit == time.Microsecond {
		n, back = t.UnixMicro(), time.UnixMicro
	}
	if !back(n).Equal(t) {
		return 0, fmt.Errorf("%s is out of range", shown(s))
	}
	return n, nil
}

// parseTime is time.Parse for years of any number of digits, which DecodeAny shows
// where Avro's numbers go that far.
func parseTime(layout, s string) (time.Time, error) {
	t, err := time.Parse(layout, s)
	if err == nil {
		return t, nil
	}
	digits := strings.TrimPrefix(s, "-")
	i := strings.IndexByte(digits, '-')
	if i < 4 || i > 9 || digits[0] == '+' {
		return t, err
	}
	year, yerr := strconv.Atoi(s[:len(s)-len(digits)+i])
	if yerr != nil {
		return t, err
	}
	// The calendar repeats itself every 400 years.
	cycle := ((year % 400) + 400) % 400
	t, err = time.Parse(layout, strconv.Itoa(2000+cycle)+digits[i:])
	if err != nil {
		return t, err
	}
	const secondsOfCycle = 146_097 * 86_400
	return time.Unix(t.Unix()+int64(year-2000-cycle)/400*secondsOfCycle, int64(t.Nanosecond())).In(t.Location()), nil
}

// appendJSONDuration takes a duration as DecodeAny shows it.
func appendJSONDuration(dst []byte, o *jsonObject) ([]byte, error) {
	parts := [...]string{"Months", "Days", "Milliseconds"}
	for _, part := range parts {
		number, ok := o.values[part].(json.Number)
		n, err := strconv.ParseUint(string(number), 10, 32)
		if !ok || err != nil || len(o.keys) != len(parts) {
			return nil, errors.New("a duration is an object of the whole numbers Months, Days and Milliseconds, each of 32 bits without a sign, or 12 bytes in hexadecimal")
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	}
	return dst, nil
}

func jsonFloat(v any, bits int) (float64, error) {
	switch v := v.(type) {
	case json.Number:
		f, err := strconv.ParseFloat(string(v), bits)
		if err != nil {
			return 0, fmt.Errorf("%s is out of range", shown(v))
		}
		return f, nil
	case string: // what JSON has no number for
		switch v {
		case "NaN", "+Inf", "-Inf":
			return strconv.ParseFloat(v, bits)
		}
	}
	return 0, fmt.Errorf("%s is not a number", shown(v))
}

func jsonBytes(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte: // a default
		return v, nil
	case string:
		digits, isHex := strings.CutPrefix(v, "0x")
		if !isHex {
			return []byte(v), nil
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fmt.Errorf("%s is not hexadecimal after 0x", shown(v))
		}
		return b, nil
	}
	return nil, fmt.Errorf("%s is not a string", shown(v))
}

func jsonFixed(v any, size int) ([]byte, error) {
	var b []byte
	switch v := v.(type) {
	case string:
		var err error
		if b, err = hex.DecodeString(strings.TrimPrefix(v, "0x")); err != nil {
			return nil, fmt.Errorf("%s is not hexadecimal", shown(v))
		}
	default: // a default is an array of its own type for each size
		r := reflect.ValueOf(v)
		if !r.IsValid() || r.Kind() != reflect.Array || r.Type().Elem().Kind() != reflect.Uint8 {
			return nil, fmt.Errorf("%s is not a string of hexadecimal", shown(v))
		}
		b = make([]byte, r.Len())
		reflect.Copy(reflect.ValueOf(b), r)
	}
	if len(b) != size {
		return nil, fmt.Errorf("it has %d bytes instead of %d", len(b), size)
	}
	return b, nil
}

// maxDecimalText bounds the text of a decimal: its number of digits is not
// bounded by its length.
const maxDecimalText = 1024

func appendJSONDecimal(dst []byte, schema avro.Schema, d *avro.DecimalLogicalSchema, v any) ([]byte, error) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = string(v)
	case string:
		text = v
	default: // a default is bytes
		if schema.Type() == avro.Fixed {
			b, err := jsonFixed(v, schema.(*avro.FixedSchema).Size())
			return append(dst, b...), err
		}
		b, err := jsonBytes(v)
		return appendBytes(dst, b), err
	}
	if len(text) > maxDecimalText || strings.ContainsAny(text, "eE/_xXpP") {
		return nil, errors.New("a decimal is written as digits with a point")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%s is not a decimal", shown(v))
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Scale())), nil)))
	if !r.IsInt() {
		return nil, fmt.Errorf("%s has more than %d digits after the point", shown(v), d.Scale())
	}
	if digits := len(new(big.Int).Abs(r.Num()).String()); digits > d.Precision() {
		return nil, fmt.Errorf("%s has %d digits, allowed are %d", shown(v), digits, d.Precision())
	}
	b := twosComplement(r.Num())
	if schema.Type() != avro.Fixed {
		return appendBytes(dst, b), nil
	}
	size := schema.(*avro.FixedSchema).Size()
	if len(b) > size {
		return nil, fmt.Errorf("%s does not fit into %d bytes", shown(v), size)
	}
	fill := byte(0)
	if r.Sign() < 0 {
		fill = 0xff
	}
	for range size - len(b) {
		dst = append(dst, fill)
	}
	return append(dst, b...), nil
}

// twosComplement returns the shortest big-endian two's complement of n.
func twosComplement(n *big.Int) []byte {
	if n.Sign() >= 0 {
		return n.FillBytes(make([]byte, n.BitLen()/8+1))
	}
	// -n-1 has the same number of significant bits as n in two's complement.
	size := new(big.Int).Not(n).BitLen()/8 + 1
	n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(size)*8))
	return n.FillBytes(make([]byte, size))
}
