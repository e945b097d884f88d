package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
)

// JSONError says where a JSON text is not a value of its schema.
type JSONError struct {
	Path    string // such as payload.alerts[2].place
	Problem string
}

func (e *JSONError) Error() string { return e.Path + ": " + clip(e.Problem, maxProblem) }

// EncodeJSON returns a JSON text as a framed value of a registered schema: the
// form that DecodeAny shows, so what a tool printed it can send.
//
// It is strict. Each field of a record is there or has a default in the schema,
// and nothing else is; numbers fit their type without rounding; a key stands
// once. In a union null is the null branch, {"name": value} the branch of that
// name, and any other value the first branch that takes it. Bytes are text, or
// hexadecimal after 0x; a fixed is hexadecimal. A timestamp is RFC 3339, a date
// 2006-01-02, a time of day a duration such as 1h30m, and each may be the
// number that Avro has for it. A decimal is a number or its text. A duration is
// {"Months": 1, "Days": 2, "Milliseconds": 3}.
//
// Two things that are shown do not come back as they were: a value of a union that
// is shown without its branch may become one of another branch that takes it, and a
// time of day outside of a day, which a writer can put there, is refused.
//
// A text that is no such value is a *JSONError, one that breaks a rule of the
// schema a *RuleError.
func (c *Codec) EncodeJSON(schemaID int, schema avro.Schema, text []byte) ([]byte, error) {
	v, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	p := c.plan(planKey{writer: schema, sending: true})
	if p.err != nil {
		return nil, p.err
	}
	value, err := appendJSON(AppendFrame(nil, schemaID, nil), schema, v, "payload")
	if err != nil {
		return nil, err
	}
	if problem := p.walk.check(value[frameSize:], &c.limits); problem != "" {
		return nil, &JSONError{Path: "payload", Problem: "the result cannot be decoded: " + problem}
	}
	if p.rules != nil {
		if err := p.follow(value[frameSize:]); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// jsonObject keeps the order of its fields, for errors that name the first.
type jsonObject struct {
	keys   []string
	values map[string]any
}

// maxJSONDepth is above what any schema's values may have.
const maxJSONDepth = 256

// parseJSON returns a text as nil, bool, string, json.Number, []any and
// *jsonObject. Package json alone takes the last of two equal keys, replaces
// what is not UTF-8 and stops at the first value.
func parseJSON(text []byte) (any, error) {
	bad := func(problem string) error { return &JSONError{Path: "payload", Problem: problem} }
	if !utf8.Valid(text) {
		return nil, bad("the JSON text is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := jsonValue(dec, "payload", 0)
	if err != nil {
		if _, ok := errors.AsType[*JSONError](err); ok {
			return nil, err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, bad("the JSON text is empty or cut off")
		}
		return nil, bad(fmt.Sprintf("the JSON text is broken at byte %d: %v", dec.InputOffset(), err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad(fmt.Sprintf("the JSON text goes on after its value at byte %d", dec.InputOffset()))
	}
	return v, nil
}

func jsonValue(dec *json.Decoder, path string, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, &JSONError{Path: path, Problem: "nested too deep"}
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		items := []any{}
		for dec.More() {
			item, err := jsonValue(dec, fmt.Sprintf("%s[%d]", path, len(items)), depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		_, err := dec.Token()
		return items, err
	case json.Delim('{'):
		o := &jsonObject{values: map[string]any{}}
		for dec.More() {
			token, err := dec.Token()
			if err != nil {
				return nil, err
			}
			key := token.(string) // the decoder takes no other
			at := fieldPath(path, key)
			if _, twice := o.values[key]; twice {
				return nil, &JSONError{Path: at, Problem: "stands twice"}
			}
			v, err := jsonValue(dec, at, depth+1)
			if err != nil {
				return nil, err
			}
			o.keys = append(o.keys, key)
			o.values[key] = v
		}
		_, err := dec.Token()
		return o, err
	}
	return token, nil
}

func fieldPath(path, key string) string {
	return path + "." + strings.Trim(quote([]byte(key)), `"`)
}

// jsonDefault returns a schema's default in the form of parseJSON.
func jsonDefault(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := &jsonObject{values: make(map[string]any, len(v))}
		for k, e := range v {
			o.keys = append(o.keys, k)
			o.values[k] = jsonDefault(e)
		}
		return o
	case []any:
		items := make([]any, len(v))
		for i, e := range v {
			items[i] = jsonDefault(e)
		}
		return items
	case int, int64, float32, float64:
		return json.Number(fmt.Sprint(v))
	}
	return v
}
