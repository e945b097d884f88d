package evolution

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Source has the schemas that are in use.
type Source interface {
	// History returns what the schema of a file follows. An error is what keeps
	// from judging, such as a registry that does not answer.
	History(ctx context.Context, file string, schema avro.Schema) (*History, error)
}

// History is what one schema is compared with.
type History struct {
	Older    []Version // ascending
	Level    schemas.Level
	Compared string // in words: what with, at which level
}

// Report is what became of one file.
type Report struct {
	File     string        `json:"file"`
	Subject  string        `json:"subject,omitempty"`
	Type     string        `json:"type,omitempty"`
	Level    schemas.Level `json:"level,omitempty"`
	Compared string        `json:"compared,omitempty"` // in words
	Problems []Problem     `json:"problems"`
	NextType string        `json:"nexttype,omitempty"` // where the change breaks: the type that it can take

	schema avro.Schema
}

// Check judges the records of files, in their order, against a source. What is
// wrong with the change is in the reports. An error is always *Unchecked.
func Check(ctx context.Context, source Source, files []string) ([]*Report, error) {
	reports, err := read(files)
	if err != nil {
		return nil, &Unchecked{err}
	}
	for _, r := range reports {
		if r.schema == nil {
			continue
		}
		h, err := source.History(ctx, r.File, r.schema)
		if err != nil {
			return nil, &Unchecked{fmt.Errorf("%s: %w", r.File, err)}
		}
		r.Level, r.Compared = h.Level, h.Compared
		if broken := Judge(r.schema, h.Older, h.Level); len(broken) > 0 {
			r.Problems = append(r.Problems, broken...)
			if r.Type != "" {
				r.NextType = NextType(r.Type)
			}
		}
	}
	return reports, nil
}

// read reads each file once and reports what each lacks by itself.
func read(files []string) ([]*Report, error) {
	var reports []*Report
	seen := make(map[string]bool)
	first := make(map[string]string) // record to file
	for _, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		if seen[path] {
			continue
		}
		seen[path] = true
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		r := &Report{File: file, Problems: []Problem{}}
		reports = append(reports, r)
		schema, err := parse(string(text))
		if err != nil {
			r.Problems = append(r.Problems, Problem{Rule: RuleRecord, Problem: clean(err), Remedy: "mend the file"})
			continue
		}
		r.schema, r.Subject, r.Type = schema, schemas.FullName(schema), schemas.MessageType(schema)
		if err := schemas.ValidType(r.Type); err != nil {
			r.Problems = append(r.Problems, Problem{
				Rule: RuleNoType, Problem: err.Error(),
				Remedy: fmt.Sprintf(`name it in the record, such as "%s": "quake.reported"`, schemas.TypeProperty),
			})
		}
		if other, twice := first[r.Subject]; twice {
			r.Problems = append(r.Problems, Problem{
				Rule: RuleTwice, Problem: fmt.Sprintf("%s has the record %s too", other, r.Subject), Remedy: "keep one of them, or name one anew",
			})
		} else {
			first[r.Subject] = file
		}
	}
	return reports, nil
}

func parseFile(file string) (avro.Schema, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	schema, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s is %w", file, err)
	}
	return schema, nil
}

// parse reads the record of a file.
func parse(text string) (avro.Schema, error) {
	schema, err := schemas.ParseSchema(text)
	if err != nil {
		return nil, fmt.Errorf("not an Avro schema: %w", err)
	}
	if schema.Type() != avro.Record {
		return nil, fmt.Errorf("a schema of type %s: a message is a record", schema.Type())
	}
	return schema, nil
}
