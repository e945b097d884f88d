// Package scaffold writes a first agent: a program with one handler, its messages and
// its test, to build on.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/schemas/gotypes"
)

// Parley is the path of the platform's module.
const Parley = "github.com/seed-c9b6dc07/parley"

//go:embed template
var texts embed.FS

// Agent is a first agent.
type Agent struct {
	Name   string // [a-z0-9-]+, with no hyphen in front
	Module string // path of a module of its own; empty: it is part of one
	// Version is what a module of its own requires of Parley; empty: none, so that
	// go mod tidy takes the latest.
	Version string
}

// Namespace is that of its Avro records: the name as Avro allows it.
func (a Agent) Namespace() string {
	name := strings.ReplaceAll(a.Name, "-", "_")
	if name[0] >= '0' && name[0] <= '9' {
		return "_" + name
	}
	return name
}

// Parley is the path of the platform's module.
func (Agent) Parley() string { return Parley }

// ValidName says whether an agent can have that name: on the platform, and as a
// folder and a module that it is the last part of.
func ValidName(name string) error {
	if err := schemas.ValidName(name); err != nil {
		return err
	}
	if asker := name + "-user"; len(asker) > schemas.MaxName {
		return fmt.Errorf("the name %q has %d bytes: leave room for %q, of at most %d", name, len(name), asker, schemas.MaxName)
	}
	if name[0] == '-' {
		return fmt.Errorf("the name %q begins with a hyphen: no module's path may", name)
	}
	return nil
}

// File is a file of the agent, with its path below the agent's folder.
type File struct {
	Path string // with slashes
	Text []byte
}

// Files are all files, generated ones too.
func (a Agent) Files() ([]File, error) {
	if err := ValidName(a.Name); err != nil {
		return nil, err
	}
	var files []File
	sources := make(map[string][]byte)
	err := fs.WalkDir(texts, "template", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f := File{Path: strings.TrimSuffix(strings.TrimPrefix(name, "template/"), ".tmpl")}
		if f.Path == "go.mod" && a.Module == "" {
			return nil
		}
		text, err := template.ParseFS(texts, name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := text.Execute(&b, a); err != nil {
			return err
		}
		f.Text = b.Bytes()
		files = append(files, f)
		if path.Ext(f.Path) == ".avsc" {
			sources[f.Path] = f.Text
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	types, err := gotypes.Generate("main", sources)
	if err != nil {
		return nil, err
	}
	files = append(files, File{Path: "messages_gen.go", Text: types})
	slices.SortFunc(files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	return files, nil
}

// Write writes files into a folder, which it makes if need be. It overwrites nothing
// and mixes with no other program: if a file is there, or other Go files are, all of
// them are named and nothing is written.
func Write(dir string, files []File) error {
	var errs []error
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		switch _, err := os.Lstat(name); {
		case err == nil:
			errs = append(errs, fmt.Errorf("%s is there already", name))
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	others, err := filepath.Glob(filepath.Join(escaped(dir), "*.go"))
	if err != nil {
		return err
	}
	for _, name := range others {
		if !slices.ContainsFunc(files, func(f File) bool { return f.Path == filepath.Base(name) }) {
			errs = append(errs, fmt.Errorf("%s is of another program", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("nothing is written: %w", err)
	}
	for i, f := range files {
		if err := write(filepath.Join(dir, filepath.FromSlash(f.Path)), f.Text); err != nil {
			for _, made := range files[:i] {
				err = errors.Join(err, os.Remove(filepath.Join(dir, filepath.FromSlash(made.Path))))
			}
			return err
		}
	}
	return nil
}

// escaped is a folder's name in a pattern.
func escaped(dir string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// write writes a new file.
func write(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
