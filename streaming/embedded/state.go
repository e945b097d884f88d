package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

const defaultLevel = "BACKWARD"

// registryState is all that the registry knows, as it is in its file. A
// change is made on a copy, written, and only then put in place.
type registryState struct {
	Format int `json:"format"`

	// LastID is the highest ID ever given out. It only grows.
	LastID int `json:"last_id"`

	// Level is the compatibility level of subjects without their own.
	Level  string            `json:"compatibility"`
	Levels map[string]string `json:"subject_compatibility,omitempty"`

	// Schemas never shrinks: a schema that is deleted for good and registered
	// again gets the ID it had, and the ID can never mean anything else.
	Schemas  map[int]schema      `json:"schemas"`
	Subjects map[string]*subject `json:"subjects"`

	ids map[string]int // identity of a schema to its ID
}

// schema is a schema as its author wrote it.
type schema struct {
	Text       string      `json:"schema"`
	References []reference `json:"references,omitempty"`
}

type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

type subject struct {
	LastVersion int       `json:"last_version"` // never used twice, also after a deletion
	Versions    []version `json:"versions"`     // ascending
}

type version struct {
	Version int  `json:"version"`
	ID      int  `json:"id"`
	Deleted bool `json:"deleted,omitempty"` // softly: hidden, but can still be asked for
}

func newRegistryState() *registryState {
	return &registryState{
		Format:   folderFormat,
		Level:    defaultLevel,
		Levels:   make(map[string]string),
		Schemas:  make(map[int]schema),
		Subjects: make(map[string]*subject),
		ids:      make(map[string]int),
	}
}

// index rebuilds what is not in the file and checks that the file makes sense.
func (s *registryState) index() error {
	if s.Format != folderFormat {
		return fmt.Errorf("has format %d, this program knows format %d", s.Format, folderFormat)
	}
	if s.Levels == nil {
		s.Levels = make(map[string]string)
	}
	if s.Schemas == nil {
		s.Schemas = make(map[int]schema)
	}
	if s.Subjects == nil {
		s.Subjects = make(map[string]*subject)
	}
	s.ids = make(map[string]int, len(s.Schemas))
	for id, sc := range s.Schemas {
		identity, err := sc.identity()
		if err != nil || id < 1 || id > s.LastID {
			return fmt.Errorf("is damaged at schema %d", id)
		}
		s.ids[identity] = id
	}
	for name, sub := range s.Subjects {
		if sub == nil {
			return fmt.Errorf("is damaged at subject %q", name)
		}
		for _, v := range sub.Versions {
			if _, ok := s.Schemas[v.ID]; !ok || v.Version > sub.LastVersion {
				return fmt.Errorf("is damaged at subject %q", name)
			}
		}
	}
	return nil
}

func (s *registryState) clone() *registryState {
	c := *s
	c.Levels = maps.Clone(s.Levels)
	c.Schemas = maps.Clone(s.Schemas)
	c.ids = maps.Clone(s.ids)
	c.Subjects = make(map[string]*subject, len(s.Subjects))
	for name, sub := range s.Subjects {
		c.Subjects[name] = &subject{LastVersion: sub.LastVersion, Versions: slices.Clone(sub.Versions)}
	}
	return &c
}

// identity is the same for two schemas that differ in white space and in the
// order of JSON members only. All else tells schemas apart, properties and
// documentation too: a reader may depend on them.
func (s schema) identity() (string, error) {
	dec := json.NewDecoder(bytes.NewReader([]byte(s.Text)))
	dec.UseNumber() // a default of 2^63-1 must not be rounded
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("not JSON: more follows after the first value")
	}
	text, err := json.Marshal(v) // sorts the members
	if err != nil {
		return "", err
	}
	refs := slices.Clone(s.References)
	slices.SortFunc(refs, func(a, b reference) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	tail, err := json.Marshal(refs)
	if err != nil {
		return "", err
	}
	return string(text) + "\n" + string(tail), nil
}

// level is the compatibility level that counts for a subject.
func (s *registryState) level(subject string) string {
	if l, ok := s.Levels[subject]; ok {
		return l
	}
	return s.Level
}

// deletion says which versions a request wants to see.
type deletion int

const (
	live deletion = iota
	liveAndDeleted
	deletedOnly
)

func (d deletion) includes(v version) bool {
	switch d {
	case live:
		return !v.Deleted
	case deletedOnly:
		return v.Deleted
	default:
		return true
	}
}

// versions returns the versions of a subject that d includes.
func (s *registryState) versions(subject string, d deletion) []version {
	sub := s.Subjects[subject]
	if sub == nil {
		return nil
	}
	var out []version
	for _, v := range sub.Versions {
		if d.includes(v) {
			out = append(out, v)
		}
	}
	return out
}

// find returns one version of a subject; latestVersion is the newest.
func (s *registryState) find(subject string, number int, d deletion) (version, error) {
	vs := s.versions(subject, d)
	if len(vs) == 0 && (s.Subjects[subject] == nil || d == live && number == latestVersion) {
		return version{}, errSubjectNotFound(subject)
	}
	if number == latestVersion && len(vs) > 0 {
		return vs[len(vs)-1], nil
	}
	for _, v := range vs {
		if v.Version == number {
			return v, nil
		}
	}
	return version{}, errVersionNotFound(number)
}

// referrers returns the IDs of live schemas that refer to a version.
func (s *registryState) referrers(subject string, number int) []int {
	ids := make(map[int]bool)
	for _, sub := range s.Subjects {
		for _, v := range sub.Versions {
			if v.Deleted {
				continue
			}
			for _, r := range s.Schemas[v.ID].References {
				if r.Subject == subject && r.Version == number {
					ids[v.ID] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}
