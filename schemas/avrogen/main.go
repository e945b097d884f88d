// Command avrogen writes Go types for Avro records. A type gets its whole
// schema, properties included, and no encoder of its own, because every payload
// goes through schemas.Codec.
//
// In the repository of an agent's author, once:
//
//	go get -tool github.com/seed-c9b6dc07/parley/schemas/avrogen
//
// and beside the agent, in any Go file:
//
//	//go:generate go tool avrogen -pkg quake -o messages_gen.go avro/*.avsc
//
// Each file holds one record, enum or fixed, and may name those of the other
// files. Each file's record becomes a message, with a method Schema; the
// records nested in it become plain structs. A message's schema is whole: it
// has in it what other files define, so it is registered without references. A
// rule in parley.rules that cannot be used is refused.
//
// docs/contract.md has a table of Avro's types and their Go types.
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas/gotypes"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "avrogen:", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("avrogen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pkg := flags.String("pkg", "", "package `name` of the generated file")
	out := flags.String("o", "", "`file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	files, err := expand(flags.Args())
	if err != nil {
		return err
	}
	if *pkg == "" || *out == "" || len(files) == 0 {
		return errors.New("usage: avrogen -pkg NAME -o FILE SCHEMA.avsc")
	}
	if !token.IsIdentifier(*pkg) {
		return fmt.Errorf("-pkg: %q is no name for a package", *pkg)
	}
	src, err := generate(*pkg, files)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, src, 0o644)
}

// expand resolves patterns, as go generate runs no shell.
func expand(patterns []string) ([]string, error) {
	var files []string
	for _, p := range patterns {
		matches, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("no file matches %q", p)
		}
		files = append(files, matches...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// generate reads the files and returns what is made of them.
func generate(pkg string, files []string) ([]byte, error) {
	sources := make(map[string][]byte, len(files))
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		sources[file] = src
	}
	return gotypes.Generate(pkg, sources)
}
