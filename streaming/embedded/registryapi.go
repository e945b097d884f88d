package embedded

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const avroType = "AVRO"

const latestVersion = -1

// api has the endpoints of the Confluent Schema Registry API that the common
// clients use: franz-go's sr, confluent-kafka for Python, the Java client.
type api struct{ reg *registry }

// subjectVersion is one registered schema, as the API shows it.
type subjectVersion struct {
	Subject    string      `json:"subject"`
	Version    int         `json:"version"`
	ID         int         `json:"id"`
	SchemaType string      `json:"schemaType,omitempty"`
	References []reference `json:"references,omitempty"`
	Schema     string      `json:"schema"`
}

func (s *registryState) show(subject string, v version) subjectVersion {
	sc := s.Schemas[v.ID]
	return subjectVersion{Subject: subject, Version: v.Version, ID: v.ID, SchemaType: avroType, References: sc.References, Schema: sc.Text}
}

func (a *api) subjects(r *http.Request) (any, error) {
	prefix, d := r.URL.Query().Get("subjectPrefix"), wantsDeleted(r)
	return a.reg.read(func(s *registryState) (any, error) {
		names := []string{}
		for _, name := range slices.Sorted(maps.Keys(s.Subjects)) {
			// A subject is deleted when all of its versions are.
			lives, all := s.versions(name, live), s.versions(name, liveAndDeleted)
			shown := len(lives) > 0
			switch d {
			case liveAndDeleted:
				shown = len(all) > 0
			case deletedOnly:
				shown = len(lives) == 0 && len(all) > 0
			}
			if shown && strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		return names, nil
	})
}

func (a *api) versions(r *http.Request) (any, error) {
	name, d := r.PathValue("subject"), wantsDeleted(r)
	return a.reg.read(func(s *registryState) (any, error) {
		vs := s.versions(name, d)
		if len(vs) == 0 {
			return nil, errSubjectNotFound(name)
		}
		numbers := make([]int, len(vs))
		for i, v := range vs {
			numbers[i] = v.Version
		}
		return numbers, nil
	})
}

// findVersion reads the version that the path names.
func (a *api) findVersion(r *http.Request, show func(*registryState, string, version) any) (any, error) {
	name, d := r.PathValue("subject"), wantsDeleted(r)
	number, err := parseVersion(r.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return a.reg.read(func(s *registryState) (any, error) {
		v, err := s.find(name, number, d)
		if err != nil {
			return nil, err
		}
		return show(s, name, v), nil
	})
}

func (a *api) version(r *http.Request) (any, error) {
	return a.findVersion(r, func(s *registryState, name string, v version) any { return s.show(name, v) })
}

func (a *api) versionText(r *http.Request) (any, error) {
	return a.findVersion(r, func(s *registryState, _ string, v version) any { return rawJSON(s.Schemas[v.ID].Text) })
}

func (a *api) referencedBy(r *http.Request) (any, error) {
	return a.findVersion(r, func(s *registryState, name string, v version) any {
		return append([]int{}, s.referrers(name, v.Version)...)
	})
}

func (a *api) register(r *http.Request) (any, error) {
	name := r.PathValue("subject")
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
		return nil, errInvalidSubject(name)
	}
	sc, err := readSchema(r)
	if err != nil {
		return nil, err
	}
	return a.reg.change(func(s *registryState) (any, bool, error) {
		v, changed, err := s.register(name, sc)
		return map[string]int{"id": v.ID, "version": v.Version}, changed, err
	})
}

func (a *api) lookup(r *http.Request) (any, error) {
	name, d := r.PathValue("subject"), wantsDeleted(r)
	sc, err := readSchema(r)
	if err != nil {
		return nil, err
	}
	return a.reg.read(func(s *registryState) (any, error) {
		v, err := s.lookup(name, sc, d)
		if err != nil {
			return nil, err
		}
		return s.show(name, v), nil
	})
}

func (a *api) deleteSubject(r *http.Request) (any, error) {
	name, permanent := r.PathValue("subject"), r.URL.Query().Get("permanent") == "true"
	return a.reg.change(func(s *registryState) (any, bool, error) {
		numbers, err := s.deleteSubject(name, permanent)
		return numbers, true, err
	})
}

func (a *api) deleteVersion(r *http.Request) (any, error) {
	name, permanent := r.PathValue("subject"), r.URL.Query().Get("permanent") == "true"
	number, err := parseVersion(r.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return a.reg.change(func(s *registryState) (any, bool, error) {
		v, err := s.deleteVersion(name, number, permanent)
		return v.Version, true, err
	})
}

// schemaRequest is the body of a registration, a lookup and a check.
type schemaRequest struct {
	Schema     string          `json:"schema"`
	SchemaType string          `json:"schemaType"`
	References []reference     `json:"references"`
	ID         int             `json:"id"`
	Metadata   json.RawMessage `json:"metadata"`
	RuleSet    json.RawMessage `json:"ruleSet"`
}

func readSchema(r *http.Request) (schema, error) {
	var req schemaRequest
	if err := readBody(r, &req); err != nil {
		return schema{}, err
	}
	present := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	switch {
	case req.SchemaType != "" && req.SchemaType != avroType:
		return schema{}, errInvalidSchema("schema type " + req.SchemaType + " is not supported, only AVRO")
	case req.ID > 0:
		return schema{}, errNotPermitted("An ID cannot be chosen: the registry is not in import mode")
	case present(req.Metadata) || present(req.RuleSet):
		// Dropping them in silence would break the promise they make.
		return schema{}, errInvalidSchema("metadata and rule sets are not supported")
	case req.Schema == "":
		return schema{}, errInvalidSchema("the schema is empty")
	}
	return schema{Text: req.Schema, References: req.References}, nil
}

func readBody(r *http.Request, into any) error {
	err := json.NewDecoder(r.Body).Decode(into)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return newAPIError(http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge, "The request is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return newAPIError(http.StatusBadRequest, http.StatusBadRequest, "The request body is not the expected JSON: %v", err)
	}
	return nil
}

func parseVersion(text string) (int, error) {
	if text == "latest" || text == "-1" {
		return latestVersion, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, errInvalidVersion(text)
	}
	return int(n), nil
}

func wantsDeleted(r *http.Request) deletion {
	switch {
	case r.URL.Query().Get("deletedOnly") == "true":
		return deletedOnly
	case r.URL.Query().Get("deleted") == "true":
		return liveAndDeleted
	default:
		return live
	}
}
