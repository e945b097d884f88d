package evolution

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// typeText is a type for people: int, array of string, null | demo.Note.
func typeText(s avro.Schema) string {
	switch s := s.(type) {
	case *avro.RefSchema:
		return s.Schema().FullName()
	case *avro.ArraySchema:
		return "array of " + typeText(s.Items())
	case *avro.MapSchema:
		return "map of " + typeText(s.Values())
	case *avro.UnionSchema:
		var types []string
		for _, t := range s.Types() {
			types = append(types, typeText(t))
		}
		return strings.Join(types, " | ")
	case *avro.FixedSchema:
		return fmt.Sprintf("fixed %s of %d bytes", s.FullName(), s.Size()) + logicalText(s.Logical())
	case *avro.PrimitiveSchema:
		return string(s.Type()) + logicalText(s.Logical())
	case avro.NamedSchema:
		return string(s.Type()) + " " + schemas.FullName(s)
	}
	return string(s.Type())
}

func logicalText(l avro.LogicalSchema) string {
	switch l := l.(type) {
	case nil:
		return ""
	case *avro.DecimalLogicalSchema:
		return fmt.Sprintf(" (decimal of %d digits, scale %d)", l.Precision(), l.Scale())
	}
	return fmt.Sprintf(" (%s)", l.Type())
}

func fieldText(f *avro.Field) string {
	text := typeText(f.Type())
	if d := defaultText(f); d != "" {
		text += ", default " + d
	}
	return text
}

func defaultText(f *avro.Field) string {
	if !f.HasDefault() {
		return ""
	}
	return value(f.Default())
}

func value(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

func list(names []string) string { return strings.Join(names, ", ") }

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// lines are the properties that other has not.
func lines(m, other map[string]any) []string {
	var only []string
	for _, k := range keys(m) {
		if _, both := other[k]; !both {
			only = append(only, k+" "+value(m[k]))
		}
	}
	return only
}
