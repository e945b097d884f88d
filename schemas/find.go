package schemas

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"
)

// Registered is a schema as the registry has it.
type Registered struct {
	ID      int
	Version int
	Subject string
	Schema  avro.Schema
}

// latestVersion is the API's name of a subject's latest version.
const latestVersion = -1

// Latest returns the latest schema of a subject, which is the full name of a
// record. An unknown subject is a *SchemaError.
func (r *Registry) Latest(ctx context.Context, subject string) (Registered, error) {
	return r.version(ctx, subject, latestVersion)
}

// Version returns one version of a subject, from 1. An unknown subject or
// version is a *SchemaError.
func (r *Registry) Version(ctx context.Context, subject string, version int) (Registered, error) {
	if version < 1 {
		return Registered{}, &SchemaError{Subject: subject, Problem: fmt.Sprintf("versions begin with 1, not %d", version)}
	}
	return r.version(ctx, subject, version)
}

func (r *Registry) version(ctx context.Context, subject string, version int) (Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	s, err := r.client.SchemaByVersion(ctx, subject, version)
	if err != nil {
		problem := "is not registered in " + r.url
		if version != latestVersion {
			problem = fmt.Sprintf("version %d %s", version, problem)
		}
		return Registered{}, r.explain(ctx, err, &SchemaError{Subject: subject, Problem: problem})
	}
	schema, err := r.parse(ctx, s.Schema)
	if _, ok := errors.AsType[*RegistryUnavailableError](err); ok {
		return Registered{}, err
	}
	if err != nil {
		return Registered{}, &SchemaError{ID: s.ID, Subject: subject, Problem: "cannot be used", Err: err}
	}
	return Registered{ID: s.ID, Version: s.Version, Subject: subject, Schema: schema}, nil
}

// LatestOfType returns the latest schemas that name a message type, by
// subject. It asks for each subject, so it is for tools. A schema that cannot
// be used is passed over.
func (r *Registry) LatestOfType(ctx context.Context, messageType string) ([]Registered, error) {
	subjects, err := r.Subjects(ctx)
	if err != nil {
		return nil, err
	}
	var found []Registered
	for _, subject := range subjects {
		s, err := r.Latest(ctx, subject)
		if _, ok := errors.AsType[*SchemaError](err); ok {
			continue
		}
		if err != nil {
			return nil, err
		}
		if MessageType(s.Schema) == messageType {
			found = append(found, s)
		}
	}
	return found, nil
}

// Subjects returns the subjects of the registry, sorted.
func (r *Registry) Subjects(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	subjects, err := r.client.Subjects(ctx)
	if err != nil {
		return nil, &RegistryUnavailableError{URL: r.url, Err: fmt.Errorf("list subjects: %w", err)}
	}
	slices.Sort(subjects)
	return subjects, nil
}
