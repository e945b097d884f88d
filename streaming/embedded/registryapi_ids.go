package embedded

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// usage is one place where a schema is registered.
type usage struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// usages returns where a schema is registered, in order.
func (s *registryState) usages(id int, d deletion) []usage {
	out := []usage{}
	for _, name := range slices.Sorted(maps.Keys(s.Subjects)) {
		for _, v := range s.versions(name, d) {
			if v.ID == id {
				out = append(out, usage{name, v.Version})
			}
		}
	}
	return out
}

// byID reads the schema that the path names. Records outlive a soft deletion,
// so its schema can still be had by ID; after a permanent one it cannot.
func (a *api) byID(r *http.Request, show func(*registryState, int) any) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return nil, errSchemaNotFound()
	}
	return a.reg.read(func(s *registryState) (any, error) {
		if len(s.usages(id, liveAndDeleted)) == 0 {
			return nil, errSchemaNotFound()
		}
		return show(s, id), nil
	})
}

func (a *api) schemaByID(r *http.Request) (any, error) {
	return a.byID(r, func(s *registryState, id int) any { return s.Schemas[id] })
}

func (a *api) schemaTextByID(r *http.Request) (any, error) {
	return a.byID(r, func(s *registryState, id int) any { return rawJSON(s.Schemas[id].Text) })
}

func (a *api) versionsByID(r *http.Request) (any, error) {
	d := wantsDeleted(r)
	return a.byID(r, func(s *registryState, id int) any { return s.usages(id, d) })
}

func (a *api) subjectsByID(r *http.Request) (any, error) {
	d := wantsDeleted(r)
	return a.byID(r, func(s *registryState, id int) any {
		names := []string{}
		for _, u := range s.usages(id, d) {
			names = append(names, u.Subject)
		}
		return slices.Compact(names)
	})
}

func (a *api) allSchemas(r *http.Request) (any, error) {
	prefix, latestOnly, d := r.URL.Query().Get("subjectPrefix"), r.URL.Query().Get("latestOnly") == "true", wantsDeleted(r)
	return a.reg.read(func(s *registryState) (any, error) {
		out := []subjectVersion{}
		for _, name := range slices.Sorted(maps.Keys(s.Subjects)) {
			vs := s.versions(name, d)
			if !strings.HasPrefix(name, prefix) || len(vs) == 0 {
				continue
			}
			if latestOnly {
				vs = vs[len(vs)-1:]
			}
			for _, v := range vs {
				out = append(out, s.show(name, v))
			}
		}
		return out, nil
	})
}
