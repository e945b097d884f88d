package embedded

import (
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

var levels = []string{
	"NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE",
}

func validLevel(level string) bool { return slices.Contains(levels, level) }

// check refuses what is not a valid schema and returns its identity.
func (s *registryState) check(sc schema) (string, error) {
	identity, err := sc.identity()
	if err != nil {
		return "", errInvalidSchema(err.Error())
	}
	if _, err := s.parse(sc); err != nil {
		return "", errInvalidSchema(err.Error())
	}
	return identity, nil
}

// parse reads an Avro schema and those it refers to.
func (s *registryState) parse(sc schema) (_ avro.Schema, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser is given text from outside
			err = fmt.Errorf("schema cannot be parsed: %v", r)
		}
	}()
	// A cache of its own for each parse: in a shared one a name would mean
	// whatever was parsed last.
	return s.parseInto(sc, &avro.SchemaCache{}, make(map[reference]bool))
}

func (s *registryState) parseInto(sc schema, cache *avro.SchemaCache, seen map[reference]bool) (avro.Schema, error) {
	for _, r := range sc.References {
		target := reference{Subject: r.Subject, Version: r.Version}
		if seen[target] {
			continue
		}
		seen[target] = true
		v, err := s.find(r.Subject, r.Version, liveAndDeleted)
		if err != nil {
			return nil, fmt.Errorf("reference %q: subject %q has no version %d", r.Name, r.Subject, r.Version)
		}
		if _, err := s.parseInto(s.Schemas[v.ID], cache, seen); err != nil {
			return nil, fmt.Errorf("reference %q: %w", r.Name, err)
		}
	}
	return avro.ParseWithCache(sc.Text, "", cache)
}

// incompatibilities returns why a schema may not follow earlier versions of a
// subject, by the subject's level, in sentences for a person. earlier is
// ascending; a level that is not transitive looks at the last one only.
func (s *registryState) incompatibilities(name string, sc schema, earlier []version) []string {
	level := schemas.Level(s.level(name))
	if level == schemas.LevelNone || len(earlier) == 0 {
		return nil
	}
	if !level.Transitive() {
		earlier = earlier[len(earlier)-1:]
	}
	candidate, err := s.parse(sc)
	if err != nil {
		return []string{err.Error()}
	}
	var reasons []string
	for _, v := range slices.Backward(earlier) {
		old, err := s.parse(s.Schemas[v.ID])
		if err != nil {
			reasons = append(reasons, fmt.Sprintf("version %d cannot be parsed: %v", v.Version, err))
			continue
		}
		if level.Backward() {
			for _, why := range schemas.Unreadable(candidate, old) {
				reasons = append(reasons, fmt.Sprintf("the new schema cannot read data of version %d: %s", v.Version, why))
			}
		}
		if level.Forward() {
			for _, why := range schemas.Unreadable(old, candidate) {
				reasons = append(reasons, fmt.Sprintf("version %d cannot read data of the new schema: %s", v.Version, why))
			}
		}
	}
	return reasons
}
