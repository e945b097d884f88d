// Package gotypes writes Go types for Avro records: it is what command avrogen runs,
// whose documentation says what comes of a schema.
package gotypes

import (
	"bytes"
	_ "embed"
	"fmt"
	"go/format"
	"go/token"
	"text/template"
)

//go:embed template.tmpl
var templateText string

var output = template.Must(template.New("output").Funcs(template.FuncMap{"comment": comment, "quoted": quoted}).Parse(templateText))

// Generate returns the Go file, of the package pkg, with the types of schemas that may
// name each other's types. Their keys are the names of the files that hold them, for
// errors. The same schemas under the same names give the same file.
func Generate(pkg string, sources map[string][]byte) ([]byte, error) {
	if !token.IsIdentifier(pkg) {
		return nil, fmt.Errorf("%q is no name for a package", pkg)
	}
	defs, err := parse(sources)
	if err != nil {
		return nil, err
	}
	t := newTypes()
	for _, d := range defs {
		if err := t.message(d); err != nil {
			return nil, fmt.Errorf("%s: %w", d.file, err)
		}
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	err = output.Execute(&buf, map[string]any{"Package": pkg, "Imports": t.sortedImports(), "Structs": t.structs, "Avro": t.avro})
	if err != nil {
		return nil, err
	}
	src, err := format.Source(buf.Bytes())
	if err != nil {
		return nil, fmt.Errorf("generated code does not parse: %w", err)
	}
	return src, nil
}
