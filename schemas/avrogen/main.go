// Command avrogen writes Go types for Avro records. It is hamba/avro's
// generator with one difference: a type gets its whole schema, properties
// included, and no encoder of its own, because every payload goes through
// schemas.Codec.
//
// In the repository of an agent's author, once:
//
//	go get -tool github.com/seed-c9b6dc07/parley/schemas/avrogen
//
// and beside the agent, in any Go file:
//
//	//go:generate go tool avrogen -pkg quake -o messages_gen.go avro/*.avsc
//
// Each file holds one record. It becomes a message, with a method Schema; the
// records nested in it become plain structs. A rule in parley.rules that cannot
// be used is refused.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/ettle/strcase"
	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/gen"

	"github.com/seed-c9b6dc07/parley/schemas/rules"
)

//go:embed template.tmpl
var template string

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

// root is what the template knows of the record that a file defines.
type root struct {
	Name string // of the Go type
	JSON string // the whole schema
}

func generate(pkg string, files []string) ([]byte, error) {
	caser := strcase.NewCaser(true, nil, nil) // as the generator's own
	g := gen.NewGenerator(pkg, nil,
		gen.WithEncoders(true), // for the import of avro
		gen.WithStrictTypes(true),
		gen.WithTemplate(template),
	)
	for _, file := range files {
		schema, text, err := parse(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		g.ParseWithMetadata(schema, root{Name: caser.ToPascal(schema.Name()), JSON: text})
	}
	var buf bytes.Buffer
	if err := g.Write(&buf); err != nil {
		return nil, err
	}
	src, err := format.Source(buf.Bytes())
	if err != nil {
		return nil, fmt.Errorf("generated code does not parse: %w", err)
	}
	return src, nil
}

func parse(file string) (*avro.RecordSchema, string, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	if !json.Valid(src) {
		return nil, "", errors.New("not JSON")
	}
	schema, err := avro.ParseBytesWithCache(src, "", &avro.SchemaCache{})
	if err != nil {
		return nil, "", err
	}
	rec, ok := schema.(*avro.RecordSchema)
	if !ok {
		return nil, "", fmt.Errorf("holds a schema of type %s instead of one record", schema.Type())
	}
	if _, err := rules.Compile(rec, rules.DefaultCost); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(rec)
	return rec, string(text), err
}
