package schemas

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/sr"
)

// Versions returns the versions of a subject, ascending; none where the registry
// does not know it.
func (r *Registry) Versions(ctx context.Context, subject string) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	versions, err := r.client.SubjectVersions(ctx, subject)
	err = r.explain(ctx, err, &SchemaError{Subject: subject, Problem: "is not registered in " + r.url})
	if _, unknown := errors.AsType[*SchemaError](err); unknown {
		return nil, nil
	}
	slices.Sort(versions)
	return versions, err
}

// Level returns the compatibility level of a subject: its own, or the registry's
// where it has none.
func (r *Registry) Level(ctx context.Context, subject string) (Level, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	level, err := r.level(ctx, subject)
	if _, none := errors.AsType[*SchemaError](err); none {
		level, err = r.level(ctx, sr.GlobalSubject)
	}
	return level, err
}

// level asks without the parameter that makes a registry take its own level where
// the subject has none: not each registry knows it.
func (r *Registry) level(ctx context.Context, subject string) (Level, error) {
	answer := r.client.Compatibility(ctx, subject)[0]
	if answer.Err != nil {
		return "", r.explain(ctx, answer.Err, &SchemaError{Subject: subject, Problem: "has no level of its own"})
	}
	level, err := ParseLevel(answer.Level.String())
	if err != nil {
		return "", r.noRegistry()
	}
	return level, nil
}
