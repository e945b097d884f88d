package orders

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// open returns a codec over a registry that is durable in the folder registry.
func open(t *testing.T) *schemas.Codec {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: "registry"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close(context.Background()) })
	registry, err := schemas.NewRegistry(server.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return schemas.NewCodec(registry)
}

// differs says where two values differ; empty: nowhere.
func differs(path string, a, b reflect.Value) string {
	if a.Type() != b.Type() {
		return path + ": " + a.Type().String() + " and " + b.Type().String()
	}
	switch x := a.Interface().(type) {
	case time.Time:
		// A local timestamp is a clock's time in the zone of the machine.
		if y := b.Interface().(time.Time); !x.Equal(y) {
			return path + ": " + x.String() + " and " + y.String()
		}
		return ""
	case *big.Rat:
		y := b.Interface().(*big.Rat)
		if (x == nil) != (y == nil) || x != nil && x.Cmp(y) != 0 {
			return path + ": " + x.String() + " and " + y.String()
		}
		return ""
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if d := differs(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() != b.IsNil() {
			return path + ": one is nil"
		}
		if !a.IsNil() {
			return differs(path, a.Elem(), b.Elem())
		}
	case reflect.Slice, reflect.Map:
		if a.Len() != b.Len() {
			return path + ": of other lengths"
		}
		if a.Kind() == reflect.Slice {
			for i := range a.Len() {
				if d := differs(path+"[]", a.Index(i), b.Index(i)); d != "" {
					return d
				}
			}
			return ""
		}
		for _, k := range a.MapKeys() {
			if !b.MapIndex(k).IsValid() {
				return path + ": no key " + k.String()
			}
			if d := differs(path+"{}", a.MapIndex(k), b.MapIndex(k)); d != "" {
				return d
			}
		}
	default:
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			return path
		}
	}
	return ""
}

// hexDurations writes durations as EncodeJSON takes them.
func hexDurations(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = hexDurations(e)
		}
	case []any:
		for i, e := range v {
			v[i] = hexDurations(e)
		}
	case avro.LogicalDuration:
		var b []byte
		for _, part := range []uint32{v.Months, v.Days, v.Milliseconds} {
			b = binary.LittleEndian.AppendUint32(b, part)
		}
		return hex.EncodeToString(b)
	}
	return v
}
