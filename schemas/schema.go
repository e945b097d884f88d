package schemas

import (
	"encoding/json"
	"fmt"

	"github.com/hamba/avro/v2"
)

// TypeProperty is the property of a record's schema that names its message
// type.
const TypeProperty = "parley.type"

// Message is a value that knows its Avro schema: any type that the generator
// in schemas/avrogen wrote, and a pointer to one.
type Message interface {
	// Schema returns the whole schema, properties included. It is the same
	// pointer on each call, and the zero value has it too.
	Schema() avro.Schema
}

// ParseSchema parses a schema's JSON text. Names are resolved within the text
// alone, so two versions of a name never meet.
func ParseSchema(text string) (avro.Schema, error) {
	return parseSchema(text, &avro.SchemaCache{})
}

func parseSchema(text string, names *avro.SchemaCache) (schema avro.Schema, err error) {
	// The text may come from a stranger, and the parser is not ours.
	defer func() {
		if p := recover(); p != nil {
			schema, err = nil, fmt.Errorf("the parser failed: %v", p)
		}
	}()
	return avro.ParseWithCache(text, "", names)
}

// SchemaText returns the JSON of a schema as it is registered: with its
// documentation, defaults, aliases and properties.
func SchemaText(schema avro.Schema) (string, error) {
	text, err := json.Marshal(schema)
	if err != nil {
		return "", fmt.Errorf("schema %s: %w", FullName(schema), err)
	}
	return string(text), nil
}

// FullName returns the full name of a named schema, which is its subject in
// the registry, else the name of its Avro type.
func FullName(schema avro.Schema) string {
	if named, ok := schema.(avro.NamedSchema); ok {
		return named.FullName()
	}
	return string(schema.Type())
}

// MessageType returns the message type that a schema names in TypeProperty, or
// an empty string.
func MessageType(schema avro.Schema) string {
	p, ok := schema.(avro.PropertySchema)
	if !ok {
		return ""
	}
	typ, _ := p.Prop(TypeProperty).(string)
	return typ
}
