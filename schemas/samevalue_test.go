package schemas

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
	peer "github.com/twmb/avro"
)

// unlike says where what DecodeAny made of a value is not what the peer made of
// it, or nothing. Numbers are compared bit by bit, but NaN is NaN.
func unlike(s *shape, ours, theirs any) string {
	switch s.kind {
	case "record":
		o, _ := ours.(map[string]any)
		t := theirs.(map[string]any)
		if len(o) != len(s.parts) || len(t) != len(s.parts) {
			return fmt.Sprintf(": %v is not %v", ours, theirs)
		}
		for i, p := range s.parts {
			if d := unlike(p, o[s.fields[i]], t[s.fields[i]]); d != "" {
				return "." + s.fields[i] + d
			}
		}
		return ""
	case "array":
		o, ok := ours.([]any)
		t := theirs.([]any)
		if !ok || len(o) != len(t) {
			return fmt.Sprintf(": %v is not %v", ours, theirs)
		}
		for i := range t {
			if d := unlike(s.parts[0], o[i], t[i]); d != "" {
				return "[" + strconv.Itoa(i) + "]" + d
			}
		}
		return ""
	case "map":
		o, ok := ours.(map[string]any)
		t := theirs.(map[string]any)
		if !ok || len(o) != len(t) {
			return fmt.Sprintf(": %v is not %v", ours, theirs)
		}
		for k, v := range t {
			w, ok := o[k]
			if !ok {
				return fmt.Sprintf("[%q] is missing", k)
			}
			if d := unlike(s.parts[0], w, v); d != "" {
				return "[" + strconv.Quote(k) + "]" + d
			}
		}
		return ""
	case "union":
		branch, t := s.branch(theirs)
		if branch.kind != "null" && !s.bare() {
			o, _ := ours.(map[string]any)
			v, ok := o[branch.branchName()]
			if !ok || len(o) != 1 {
				return fmt.Sprintf(": %v is not the branch %s", ours, branch.branchName())
			}
			ours = v
		}
		return unlike(branch, ours, t)
	}
	if !sameLeaf(s, ours, theirs) {
		return fmt.Sprintf(": %v (%[1]T) is not %v (%[2]T)", ours, theirs)
	}
	return ""
}

// branch returns which branch of a union the peer has read, and its value.
func (s *shape) branch(theirs any) (branch *shape, v any) {
	name := "null"
	tagged, _ := theirs.(map[string]any)
	for name, v = range tagged {
	}
	for _, p := range s.parts {
		if p.typeName() == name {
			return p, v
		}
	}
	panic("the peer names a branch " + name)
}

// branchName is what DecodeAny calls a branch.
func (s *shape) branchName() string {
	// The decoder knows no uuid in a fixed; a name has no logical type anyway.
	if s.logical == "" || s.name != "" {
		return s.typeName()
	}
	return s.kind + "." + s.logical
}

// bare says whether DecodeAny shows a union's values without their branch: it
// does where the decoder has a Go type for each of them.
func (s *shape) bare() bool {
	for _, p := range s.parts {
		switch p.kind {
		case "array", "map", "record", "enum", "fixed":
			return false
		}
		if p.logical == "local-timestamp-millis" || p.logical == "local-timestamp-micros" {
			return false
		}
	}
	return true
}

func sameLeaf(s *shape, ours, theirs any) bool {
	switch t := theirs.(type) {
	case nil, bool:
		return ours == theirs
	case int32:
		return ours == any(int(t))
	case int64:
		return ours == theirs
	case float32:
		if f := float64(t); math.IsNaN(f) || math.IsInf(f, 0) {
			return ours == any(strconv.FormatFloat(f, 'g', -1, 32))
		}
		o, ok := ours.(float32)
		return ok && math.Float32bits(o) == math.Float32bits(t)
	case float64:
		if math.IsNaN(t) || math.IsInf(t, 0) {
			return ours == any(strconv.FormatFloat(t, 'g', -1, 64))
		}
		o, ok := ours.(float64)
		return ok && math.Float64bits(o) == math.Float64bits(t)
	case string:
		return ours == theirs
	case []byte:
		if s.kind == "fixed" {
			return ours == any(hex.EncodeToString(t))
		}
		if utf8.Valid(t) && !strings.HasPrefix(string(t), "0x") {
			return ours == any(string(t))
		}
		return ours == any("0x"+hex.EncodeToString(t))
	case [16]byte:
		return ours == any(hex.EncodeToString(t[:]))
	case *big.Rat:
		o, _ := ours.(string)
		r, ok := new(big.Rat).SetString(o)
		return ok && r.Cmp(t) == 0
	case time.Duration:
		o, _ := ours.(string)
		d, err := time.ParseDuration(o)
		return err == nil && d == t
	case time.Time:
		return sameTime(s, ours, t)
	case peer.Duration:
		return ours == any(avro.LogicalDuration{Months: t.Months, Days: t.Days, Milliseconds: t.Milliseconds})
	}
	panic("the peer has a " + reflect.TypeOf(theirs).String())
}

func sameTime(s *shape, ours any, theirs time.Time) bool {
	if theirs.Year() < 0 || theirs.Year() > 9999 {
		return ours == any(theirs.Format(time.RFC3339Nano))
	}
	o, ok := ours.(time.Time)
	return ok && o.Equal(theirs)
}

// eachPart calls f with each part of a value that the peer has read, and how
// deep it is nested.
func eachPart(s *shape, v any, depth int, f func(s *shape, v any, depth int)) {
	f(s, v, depth)
	switch s.kind {
	case "record":
		for i, p := range s.parts {
			eachPart(p, v.(map[string]any)[s.fields[i]], depth+1, f)
		}
	case "array":
		for _, e := range v.([]any) {
			eachPart(s.parts[0], e, depth+1, f)
		}
	case "map":
		for _, e := range v.(map[string]any) {
			eachPart(s.parts[0], e, depth+1, f)
		}
	case "union":
		branch, e := s.branch(v)
		eachPart(branch, e, depth+1, f)
	}
}
