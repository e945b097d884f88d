package schemas

import (
	"errors"
	"fmt"

	"github.com/hamba/avro/v2"
)

// resolve returns the schema that reads what writer wrote into values of
// reader, by Avro's rules of schema resolution.
func resolve(writer, reader avro.Schema) (schema avro.Schema, err error) {
	if writer.Fingerprint() == reader.Fingerprint() {
		return reader, nil
	}
	// The library resolves a recursive schema without end, which no recover
	// can stop.
	if recursive(writer) || recursive(reader) {
		return nil, errors.New("versions of a recursive schema cannot be resolved")
	}
	defer func() {
		if p := recover(); p != nil {
			schema, err = nil, fmt.Errorf("the resolution failed: %v", p)
		}
	}()
	// A fresh one each time: its memory tells schemas apart by their canonical
	// form, which has no defaults and no aliases.
	return avro.NewSchemaCompatibility().Resolve(reader, writer)
}

// recursive says whether a schema holds itself.
func recursive(schema avro.Schema) bool {
	const open, done = 1, 2
	state := map[*avro.RecordSchema]int{}
	var visit func(avro.Schema) bool
	visit = func(schema avro.Schema) bool {
		switch s := schema.(type) {
		case *avro.RefSchema:
			return visit(s.Schema())
		case *avro.ArraySchema:
			return visit(s.Items())
		case *avro.MapSchema:
			return visit(s.Values())
		case *avro.UnionSchema:
			for _, t := range s.Types() {
				if visit(t) {
					return true
				}
			}
		case *avro.RecordSchema:
			if state[s] != 0 {
				return state[s] == open
			}
			state[s] = open
			for _, f := range s.Fields() {
				if visit(f.Type()) {
					return true
				}
			}
			state[s] = done
		}
		return false
	}
	return visit(schema)
}
