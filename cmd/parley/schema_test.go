package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// schemaFile is a file in a folder of the test.
func schemaFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// noteWith is the Note with one field more.
func noteWith(field string) string {
	return strings.Replace(noteSchema, `"fields":[`, `"fields":[`+field+`,`, 1)
}

func TestSchemasAreRegisteredListedAndShown(t *testing.T) {
	s := server(t)
	if got := runIn(t, s, "schema", "list").ok(t).stdout; got != "no schemas in "+s.RegistryURL()+"\n" {
		t.Errorf("list of an empty registry: %q", got)
	}
	first := schemaFile(t, "note.avsc", noteSchema)
	got := runIn(t, s, "schema", "register", first).ok(t).stdout
	var id int
	if _, err := fmt.Sscanf(got, "demo.Note has ID %d\n", &id); err != nil {
		t.Fatalf("register: %q", got)
	}
	if again := runIn(t, s, "schema", "register", first).ok(t).stdout; again != got {
		t.Errorf("registered again: %q after %q", again, got)
	}
	second := schemaFile(t, "note.avsc", noteWith(`{"name":"by","type":"string","default":"nobody"}`))
	runIn(t, s, "schema", "register", second).ok(t)
	register(t, s, "unnamed-value", `"string"`)

	var listed struct{ Schemas []schemaRow }
	if err := json.Unmarshal([]byte(runIn(t, s, "schema", "list", "--json").ok(t).stdout), &listed); err != nil {
		t.Fatal(err)
	}
	want := []schemaRow{{Subject: "demo.Note", Version: 2, ID: id + 1, Type: "note.taken"}, {Subject: "unnamed-value", Version: 1, ID: id + 2}}
	if fmt.Sprint(listed.Schemas) != fmt.Sprint(want) {
		t.Errorf("list: %+v, want %+v", listed.Schemas, want)
	}
	if got := runIn(t, s, "schema", "list").ok(t).stdout; !strings.Contains(got, "note.taken") || strings.Count(got, "\n") != 3 {
		t.Errorf("list:\n%s", got)
	}

	for name, hasBy := range map[string]bool{"demo.Note": true, "demo.Note@2": true, "demo.Note@1": false} {
		shown := runIn(t, s, "schema", "show", name).ok(t).stdout
		schema, err := schemas.ParseSchema(shown)
		if err != nil || schemas.MessageType(schema) != "note.taken" || strings.Contains(shown, `"by"`) != hasBy {
			t.Errorf("show %s: %v\n%s", name, err, shown)
		}
	}
	var row schemaRow
	if err := json.Unmarshal([]byte(runIn(t, s, "schema", "show", "demo.Note@1", "--json").ok(t).stdout), &row); err != nil || row.ID != id || row.Version != 1 || len(row.Schema) == 0 {
		t.Errorf("show as JSON: %+v, %v", row, err)
	}
}

// All of the platform's own schemas, and what is named beside them, are there after one
// command.
func TestThePlatformsSchemasAreRegistered(t *testing.T) {
	s := server(t)
	note := schemaFile(t, "note.avsc", noteSchema)
	got := runIn(t, s, "schema", "register", "--platform", note).ok(t).stdout
	want := []string{"demo.Note"}
	for _, folder := range []string{"schemas", "agents/contractnet", "agents/saga"} {
		files, err := filepath.Glob(filepath.Join("..", "..", folder, "avro", "*.avsc"))
		if err != nil || len(files) == 0 {
			t.Fatalf("schemas of %s: %v, %v", folder, files, err)
		}
		for _, file := range files {
			var record struct{ Namespace, Name string } // a file may need another
			if text, err := os.ReadFile(file); err != nil || json.Unmarshal(text, &record) != nil {
				t.Fatalf("%s: %v", file, err)
			}
			want = append(want, record.Namespace+"."+record.Name)
		}
	}
	for _, subject := range want {
		if !strings.Contains(got, subject+" has ID ") {
			t.Errorf("%s is not registered", subject)
		}
	}
	if n := strings.Count(got, "\n"); n != len(want) {
		t.Errorf("%d schemas are registered, want %d:\n%s", n, len(want), got)
	}
	if again := runIn(t, s, "schema", "register", "--platform", note).ok(t).stdout; again != got {
		t.Errorf("registered again:\n%s", again)
	}
}

func TestSchemaCommandsSayWhatIsWrong(t *testing.T) {
	s := server(t)
	register(t, s, "demo.Note", noteSchema)
	breaking := schemaFile(t, "breaking.avsc", noteWith(`{"name":"by","type":"string"}`))
	broken := schemaFile(t, "broken.avsc", `{"type":"record"`)
	unruly := schemaFile(t, "unruly.avsc", noteWith(`{"name":"by","type":"string","default":"","parley.rules":[{"id":"short","expression":"this < 9"}]}`))
	text := schemaFile(t, "text.avsc", `"string"`)
	good := schemaFile(t, "other.avsc", strings.Replace(noteSchema, "Note", "Other", 1))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"register", breaking}, exitFailure, "breaking.avsc: schema demo.Note: was refused by " + s.RegistryURL()},
		{[]string{"register", breaking}, exitFailure, "by"},
		{[]string{"register", good, broken}, exitFailure, "broken.avsc is not an Avro schema"},
		{[]string{"register", good, unruly}, exitFailure, "unruly.avsc: schema demo.Note: its rules cannot be used: payload.by: rule short: column 6: found no matching overload"},
		{[]string{"register", text}, exitFailure, "a message is a record"},
		{[]string{"register", "no-such.avsc"}, exitFailure, "no-such.avsc"},
		{[]string{"register"}, exitUsage, "name files of schemas, or --platform"},
		{[]string{"show", "no.Such"}, exitFailure, "no.Such: is not registered"},
		{[]string{"show", "demo.Note@9"}, exitFailure, "demo.Note: version 9 is not registered"},
		{[]string{"show", "demo.Note@x"}, exitUsage, "not a version"},
	} {
		runIn(t, s, append([]string{"schema"}, c.args...)...).failed(t, c.code, c.want)
	}
	if got := runIn(t, s, "schema", "list").ok(t).stdout; strings.Contains(got, "Other") {
		t.Error("a schema is registered beside a file that cannot be read")
	}
	runIn(t, nil, "schema", "list", "--registry", "http://127.0.0.1:1").failed(t, exitFailure, "127.0.0.1:1")
	runIn(t, nil, "schema", "list", "--registry", "nowhere").failed(t, exitUsage, "--registry")
}
