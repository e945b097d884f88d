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

// Latest returns the latest schema of a subject, which is the full name of a
// record. An unknown subject is a *SchemaError.
func (r *Registry) Latest(ctx context.Context, subject string) (Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	// -1 is the API's latest.
	s, err := r.client.SchemaByVersion(ctx, subject, -1)
	if err != nil {
		return Registered{}, r.explain(ctx, err, &SchemaError{Subject: subject, Problem: "is not registered in " + r.url})
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
	subjects, err := r.subjects(ctx)
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

func (r *Registry) subjects(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	subjects, err := r.client.Subjects(ctx)
	if err != nil {
		return nil, &RegistryUnavailableError{URL: r.url, Err: fmt.Errorf("list subjects: %w", err)}
	}
	slices.Sort(subjects)
	return subjects, nil
}
