package gotypes

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hamba/avro/v2"
)

// definition is what one file holds.
type definition struct {
	file   string
	schema avro.NamedSchema // parsed from text
	text   string           // the whole schema, with what it takes from other files
}

// parse parses files that may name each other's types, in any order but not in
// a circle.
func parse(sources map[string][]byte) ([]definition, error) {
	files := slices.Sorted(maps.Keys(sources))
	for _, file := range files {
		if !json.Valid(sources[file]) {
			return nil, fmt.Errorf("%s: not JSON", file)
		}
	}
	names := &avro.SchemaCache{}
	byName := map[string]string{} // the file that defines it
	defs := map[string]definition{}
	for len(defs) < len(files) {
		var failed error
		before := len(defs)
		for _, file := range files {
			if _, done := defs[file]; done {
				continue
			}
			schema, err := avro.ParseBytesWithCache(sources[file], "", names)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", file, err))
				continue
			}
			d, err := whole(schema)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if other, twice := byName[d.schema.FullName()]; twice {
				return nil, fmt.Errorf("%s: %s is defined in %s too", file, d.schema.FullName(), other)
			}
			byName[d.schema.FullName()] = file
			d.file = file
			defs[file] = d
		}
		if len(defs) == before {
			return nil, fmt.Errorf("these files do not parse, or name each other in a circle, which only types within one file may: %w", failed)
		}
	}
	ordered := make([]definition, len(files))
	for i, file := range files {
		ordered[i] = defs[file]
	}
	return ordered, nil
}

// whole is a schema with all that it names in its text.
func whole(schema avro.Schema) (definition, error) {
	switch schema.(type) {
	case *avro.RecordSchema, *avro.EnumSchema, *avro.FixedSchema:
	default:
		return definition{}, fmt.Errorf("holds a schema of type %s instead of one record, enum or fixed", schema.Type())
	}
	text, err := json.Marshal(schema)
	if err != nil {
		return definition{}, err
	}
	alone, err := avro.ParseBytesWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		return definition{}, err
	}
	if alone.Fingerprint() != schema.Fingerprint() {
		return definition{}, errors.New("a type without a namespace is named within one that has a namespace: give it a namespace")
	}
	return definition{schema: alone.(avro.NamedSchema), text: string(text)}, nil
}
