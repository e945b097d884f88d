package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas/evolution"
)

func TestSchemaDiff(t *testing.T) {
	s := server(t)
	dir := repository(t, map[string]string{"avro/note.avsc": noteSchema})
	register(t, s, "demo.Note", noteSchema)
	changed := strings.Replace(noteWith(by), `"type":["null","int"]`, `"type":["null","long"]`, 1)
	file := schemaFile(t, "note.avsc", changed)
	t.Chdir(dir)
	const want = `+ by: field string
- stars: branch int
+ stars: branch long
backward: no
  by: new agents cannot read old messages: the reader has the field by, the writer has not, and there is no default (READER_FIELD_MISSING_DEFAULT_VALUE): give field by a default
forward: no
  stars: old agents cannot read new messages: the union has no branch for long (MISSING_UNION_BRANCH): keep to the branches that old agents know, and add a field of a new name, with a default, beside it
`
	for old, shown := range map[string]string{
		"demo.Note": "demo.Note@1", "demo.Note@1": "demo.Note@1", "HEAD:avro/note.avsc": "HEAD:avro/note.avsc", "HEAD:./avro/note.avsc": "HEAD:./avro/note.avsc", "avro/note.avsc": "avro/note.avsc",
	} {
		got := runIn(t, s, "schema", "diff", old, file).ok(t).stdout
		head, rest, _ := strings.Cut(got, "\n")
		if head != shown+" → "+file || rest != want {
			t.Errorf("%s:\n%s\nwant\n%s", old, got, want)
		}
	}
	runIn(t, s, "schema", "diff", "demo.Note", "avro/note.avsc").ok(t).
		says(t, "no difference\nbackward: yes, new agents can read old messages\nforward: yes, old agents can read new messages\n")

	var d struct {
		Old, New string
		evolution.Differences
	}
	if err := json.Unmarshal([]byte(runIn(t, s, "schema", "diff", "--json", "demo.Note", file).ok(t).stdout), &d); err != nil {
		t.Fatal(err)
	}
	if d.Old != "demo.Note@1" || d.New != file || len(d.Changes) != 3 || len(d.Backward) != 1 || len(d.Forward) != 1 {
		t.Errorf("%+v", d)
	}

	broken := schemaFile(t, "broken.avsc", "{")
	for _, c := range []struct {
		old, want string
		code      int
	}{
		{"no-such.avsc", "no-such.avsc", exitFailure},
		{broken, broken + " is not an Avro schema", exitFailure},
		{"no.Such", "no.Such: is not registered", exitFailure},
		{"demo.Note@x", `"x" is not a version`, exitFailure},
		{"nowhere:avro/note.avsc", "git knows no revision nowhere", exitFailure},
		{"HEAD:note.avsc", "git has no note.avsc at HEAD", exitFailure},
	} {
		runIn(t, s, "schema", "diff", c.old, file).failed(t, c.code, c.want)
	}
	runIn(t, s, "schema", "diff", file).failed(t, exitUsage, "accepts 2 arg")
}
