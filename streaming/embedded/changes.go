package embedded

import "slices"

// This file has the changes of the registry's state. Each works on a copy
// that is dropped when it returns an error.

// register adds a schema to a subject and returns its version. A schema that
// the subject has keeps its version; one that another subject has keeps its ID.
func (s *registryState) register(name string, sc schema) (_ version, changed bool, err error) {
	identity, err := s.check(sc)
	if err != nil {
		return version{}, false, err
	}
	id, known := s.ids[identity]
	if known {
		for _, v := range s.versions(name, live) {
			if v.ID == id {
				return v, false, nil
			}
		}
	}
	if reasons := s.incompatibilities(name, sc, s.versions(name, live)); len(reasons) > 0 {
		return version{}, false, errIncompatible(name, s.level(name), reasons)
	}
	if !known {
		s.LastID++
		id = s.LastID
		s.Schemas[id] = sc
		s.ids[identity] = id
	}
	sub := s.Subjects[name]
	if sub == nil {
		sub = &subject{}
		s.Subjects[name] = sub
	}
	sub.LastVersion++
	v := version{Version: sub.LastVersion, ID: id}
	sub.Versions = append(sub.Versions, v)
	return v, true, nil
}

// lookup finds a schema under a subject without registering it.
func (s *registryState) lookup(name string, sc schema, d deletion) (version, error) {
	if len(s.versions(name, d)) == 0 {
		return version{}, errSubjectNotFound(name)
	}
	identity, err := s.check(sc)
	if err != nil {
		return version{}, err
	}
	if id, ok := s.ids[identity]; ok {
		for _, v := range s.versions(name, d) {
			if v.ID == id {
				return v, nil
			}
		}
	}
	return version{}, errSchemaNotFound()
}

// deleteVersion hides a version, or with permanent removes a hidden one.
func (s *registryState) deleteVersion(name string, number int, permanent bool) (version, error) {
	d := live
	if permanent {
		d = liveAndDeleted
	}
	v, err := s.find(name, number, d)
	if err != nil {
		if hidden, e := s.find(name, number, deletedOnly); e == nil && !permanent && number != latestVersion {
			return version{}, errVersionSoftDeleted(name, hidden.Version)
		}
		return version{}, err
	}
	if ids := s.referrers(name, v.Version); len(ids) > 0 {
		return version{}, errReferenced(name, v.Version, ids)
	}
	if permanent && !v.Deleted {
		return version{}, errVersionNotSoftDeleted(name, v.Version)
	}
	s.drop(name, v.Version, permanent)
	return v, nil
}

// deleteSubject does the same to all versions of a subject.
func (s *registryState) deleteSubject(name string, permanent bool) ([]int, error) {
	all := s.versions(name, liveAndDeleted)
	if len(all) == 0 {
		return nil, errSubjectNotFound(name)
	}
	lives := s.versions(name, live)
	switch {
	case permanent && len(lives) > 0:
		return nil, errSubjectNotSoftDeleted(name)
	case !permanent && len(lives) == 0:
		return nil, errSubjectSoftDeleted(name)
	case !permanent:
		all = lives
	}
	var numbers []int
	for _, v := range all {
		if ids := s.referrers(name, v.Version); len(ids) > 0 {
			return nil, errReferenced(name, v.Version, ids)
		}
		numbers = append(numbers, v.Version)
	}
	for _, n := range numbers {
		s.drop(name, n, permanent)
	}
	delete(s.Levels, name)
	return numbers, nil
}

// drop keeps the subject itself, so that its version numbers are not used for
// another schema: a reference names a schema by them.
func (s *registryState) drop(name string, number int, permanent bool) {
	sub := s.Subjects[name]
	i := slices.IndexFunc(sub.Versions, func(v version) bool { return v.Version == number })
	if permanent {
		sub.Versions = slices.Delete(sub.Versions, i, i+1)
		return
	}
	sub.Versions[i].Deleted = true
}
