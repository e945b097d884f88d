package evolution

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Open returns the schema that a name stands for: a file that is there, or any
// name that ends in .avsc; REVISION:PATH, as for git show; else SUBJECT or
// SUBJECT@VERSION, by default the latest, of a registry.
func Open(ctx context.Context, name string, reg *schemas.Registry) (Version, error) {
	revision, path, inGit := strings.Cut(name, ":")
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.IsDir(), !inGit && filepath.Ext(name) == ".avsc":
		schema, err := parseFile(name)
		return Version{Name: name, Schema: schema}, err
	case inGit:
		return openBlob(ctx, revision, path)
	}
	return openSubject(ctx, name, reg)
}

func openBlob(ctx context.Context, revision, path string) (Version, error) {
	v := Version{Name: revision + ":" + path}
	commit, err := resolveRevision(ctx, ".", revision)
	if err != nil {
		return v, err
	}
	text, err := git(ctx, ".", "cat-file", "blob", commit+":"+path)
	if err != nil {
		return v, fmt.Errorf("git has no %s at %s: a path begins at the top of the repository, or with ./ in the current folder", path, revision)
	}
	if v.Schema, err = parse(text); err != nil {
		return v, fmt.Errorf("%s is %w", v.Name, err)
	}
	return v, nil
}

func openSubject(ctx context.Context, name string, reg *schemas.Registry) (Version, error) {
	subject, text, named := strings.Cut(name, "@")
	var found schemas.Registered
	var err error
	if named {
		n, notNumber := strconv.Atoi(text)
		if notNumber != nil || n < 1 {
			return Version{}, fmt.Errorf("%s: %q is not a version: a number from 1", name, text)
		}
		found, err = reg.Version(ctx, subject, n)
	} else {
		found, err = reg.Latest(ctx, subject)
	}
	if err != nil {
		return Version{}, err
	}
	return Version{Name: fmt.Sprintf("%s@%d", subject, found.Version), Schema: found.Schema}, nil
}
