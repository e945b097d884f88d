package embedded

import (
	"errors"
	"net/http"
	"strings"
)

func (a *api) level(r *http.Request) (any, error) {
	name, toGlobal := r.PathValue("subject"), r.URL.Query().Get("defaultToGlobal") == "true"
	return a.reg.read(func(s *registryState) (any, error) {
		level := s.Level
		if name != "" {
			own, ok := s.Levels[name]
			switch {
			case ok:
				level = own
			case !toGlobal:
				return nil, errNoSubjectLevel(name)
			}
		}
		return map[string]string{"compatibilityLevel": level}, nil
	})
}

func (a *api) setLevel(r *http.Request) (any, error) {
	name := r.PathValue("subject")
	var req struct {
		Level string `json:"compatibility"`
	}
	if err := readBody(r, &req); err != nil {
		return nil, err
	}
	level := strings.ToUpper(req.Level)
	if !validLevel(level) {
		return nil, errInvalidLevel(req.Level)
	}
	return a.reg.change(func(s *registryState) (any, bool, error) {
		if name == "" {
			s.Level = level
		} else {
			s.Levels[name] = level
		}
		return map[string]string{"compatibility": level}, true, nil
	})
}

// resetLevel answers with the level that it took away, under both names that
// clients look for.
func (a *api) resetLevel(r *http.Request) (any, error) {
	name := r.PathValue("subject")
	return a.reg.change(func(s *registryState) (any, bool, error) {
		old := s.Level
		if name == "" {
			s.Level = defaultLevel
		} else {
			own, ok := s.Levels[name]
			if !ok {
				return nil, false, errNoSubjectLevel(name)
			}
			old = own
			delete(s.Levels, name)
		}
		return map[string]string{"compatibilityLevel": old, "compatibility": old}, true, nil
	})
}

func (a *api) compatibleWithAll(r *http.Request) (any, error) {
	name := r.PathValue("subject")
	return a.compatible(r, func(s *registryState) ([]version, error) { return s.versions(name, live), nil })
}

func (a *api) compatibleWithVersion(r *http.Request) (any, error) {
	name := r.PathValue("subject")
	number, err := parseVersion(r.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return a.compatible(r, func(s *registryState) ([]version, error) {
		v, err := s.find(name, number, live)
		if err != nil && number == latestVersion {
			return nil, nil // a first version is compatible
		}
		return []version{v}, err
	})
}

func (a *api) compatible(r *http.Request, earlier func(*registryState) ([]version, error)) (any, error) {
	name, verbose := r.PathValue("subject"), r.URL.Query().Get("verbose") == "true"
	sc, err := readSchema(r)
	if err != nil {
		return nil, err
	}
	return a.reg.read(func(s *registryState) (any, error) {
		var reasons []string
		_, err := s.check(sc)
		var no *apiError
		switch {
		case err == nil:
			vs, err := earlier(s)
			if err != nil {
				return nil, err
			}
			reasons = s.incompatibilities(name, sc, vs)
		case verbose && errors.As(err, &no):
			reasons = []string{no.message}
		default:
			return nil, err
		}
		answer := map[string]any{"is_compatible": len(reasons) == 0}
		if verbose {
			answer["messages"] = append([]string{}, reasons...)
		}
		return answer, nil
	})
}
