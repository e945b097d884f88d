package asyncapi

import (
	"bytes"
	"encoding/json"
	"strings"
)

// split returns an Avro schema with its full names as name and namespace:
// AsyncAPI's definition of Avro does not take a name with dots.
func split(schema json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return schema
	}
	splitNames(v)
	out, err := json.Marshal(v)
	if err != nil {
		return schema
	}
	return out
}

// splitNames visits schemas only, and no defaults, which may look like one.
func splitNames(v any) {
	switch s := v.(type) {
	case []any: // a union
		for _, branch := range s {
			splitNames(branch)
		}
	case map[string]any:
		if name, ok := s["name"].(string); ok {
			if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
				s["name"], s["namespace"] = name[dot+1:], name[:dot]
				aliases, _ := s["aliases"].([]any)
				for i, alias := range aliases {
					if alias, ok := alias.(string); ok { // in the same namespace its last word says it
						aliases[i] = strings.TrimPrefix(alias, name[:dot+1])
					}
				}
			}
		}
		if fields, ok := s["fields"].([]any); ok {
			for _, f := range fields {
				if field, ok := f.(map[string]any); ok {
					splitNames(field["type"])
				}
			}
		}
		splitNames(s["type"])
		splitNames(s["items"])
		splitNames(s["values"])
	}
}
