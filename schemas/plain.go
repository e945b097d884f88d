package schemas

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// plain makes a generically decoded value fit for json.Marshal and for people:
// numbers that JSON lacks, durations, decimals and bytes become text.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = plain(e)
		}
		return v
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
		return v
	case float32:
		return plainFloat(float64(v), 32, v)
	case float64:
		return plainFloat(v, 64, v)
	case []byte:
		return plainBytes(v)
	case *big.Rat:
		return plainRat(v)
	case big.Rat:
		return plainRat(&v)
	case time.Time:
		// A local timestamp has no zone. The decoder gives it the machine's; around
		// a change of that zone's clock it is off by the change, beyond repair here.
		if v.Location() == time.Local {
			v = time.Date(v.Year(), v.Month(), v.Day(), v.Hour(), v.Minute(), v.Second(), v.Nanosecond(), time.UTC)
		}
		// Avro's years go further than those that time.Time writes as JSON.
		if v.Year() < 0 || v.Year() > 9999 {
			return v.Format(time.RFC3339Nano)
		}
		return v
	case time.Duration:
		return v.String()
	}
	// A fixed is an array of its own type for each size.
	if r := reflect.ValueOf(v); r.Kind() == reflect.Array && r.Type().Elem().Kind() == reflect.Uint8 {
		b := make([]byte, r.Len())
		reflect.Copy(reflect.ValueOf(b), r)
		return hex.EncodeToString(b)
	}
	return v
}

func plainFloat(f float64, bits int, v any) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, bits)
	}
	return v
}

// plainBytes returns bytes as text where they are text, else in hexadecimal. A
// text that begins as hexadecimal does would be read as that.
func plainBytes(b []byte) string {
	if utf8.Valid(b) && !bytes.HasPrefix(b, []byte("0x")) {
		return string(b)
	}
	return "0x" + hex.EncodeToString(b)
}

func plainRat(r *big.Rat) any {
	if r == nil {
		return nil
	}
	// A decimal's denominator is a power of ten, so this is exact.
	if places, exact := r.FloatPrec(); exact {
		return r.FloatString(places)
	}
	return r.String()
}
