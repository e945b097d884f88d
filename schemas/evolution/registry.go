package evolution

import (
	"context"
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// registrySource has the versions of a schema registry.
type registrySource struct {
	reg   *schemas.Registry
	level schemas.Level
}

// FromRegistry is a source of the versions in a registry. An empty level is the
// registry's own for each subject; there a schema that is registered already
// passes, as the registry takes it back under the ID that it has.
func FromRegistry(reg *schemas.Registry, level schemas.Level) Source {
	return &registrySource{reg, level}
}

func (s *registrySource) History(ctx context.Context, _ string, schema avro.Schema) (*History, error) {
	subject := schemas.FullName(schema)
	h := &History{Level: s.level}
	var err error
	if h.Level == "" {
		if h.Level, err = s.reg.Level(ctx, subject); err != nil {
			return nil, err
		}
	}
	numbers, err := s.reg.Versions(ctx, subject)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		h.Compared = "new: the registry has no version of it"
		return h, nil
	}
	if s.level == "" {
		version, err := s.registered(ctx, subject, schema, numbers)
		if err != nil {
			return nil, err
		}
		if version != "" {
			h.Compared = "registered already, as " + version
			return h, nil
		}
	}
	latest := fmt.Sprintf("%s@%d", subject, numbers[len(numbers)-1])
	switch {
	case h.Level == schemas.LevelNone && s.level == "":
		h.Compared = "only its type is compared, with that of " + latest + ": the registry's level for it is NONE; --level FULL_TRANSITIVE compares all"
	case h.Level == schemas.LevelNone:
		h.Compared = "only its type is compared, with that of " + latest + " (NONE)"
	case len(numbers) == 1:
		h.Compared = fmt.Sprintf("compared with %s, the only version (%s)", latest, h.Level)
	case h.Level.Transitive():
		h.Compared = fmt.Sprintf("compared with all %d versions up to %s (%s)", len(numbers), latest, h.Level)
	default:
		h.Compared = fmt.Sprintf("compared with %s, the latest of %d versions (%s)", latest, len(numbers), h.Level)
	}
	if !h.Level.Transitive() {
		numbers = numbers[len(numbers)-1:]
	}
	for _, n := range numbers {
		old := Version{Name: fmt.Sprintf("%s@%d", subject, n)}
		found, err := s.reg.Version(ctx, subject, n)
		if err != nil && !asSchemaError(err) {
			return nil, err
		}
		old.Schema, old.Err = found.Schema, err
		h.Older = append(h.Older, old)
	}
	return h, nil
}

// registered is the version that a schema is registered as, or an empty string.
func (s *registrySource) registered(ctx context.Context, subject string, schema avro.Schema, numbers []int) (string, error) {
	id, err := s.reg.Lookup(ctx, schema)
	if asSchemaError(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, n := range slices.Backward(numbers) {
		found, err := s.reg.Version(ctx, subject, n)
		if err != nil && !asSchemaError(err) {
			return "", err
		}
		if err == nil && found.ID == id {
			return fmt.Sprintf("%s@%d", subject, n), nil
		}
	}
	return "", nil
}
