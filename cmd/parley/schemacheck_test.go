package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas/evolution"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

const by = `{"name":"by","type":"string"}`

// setLevel sets the compatibility level of a subject, or of all where it is empty.
func setLevel(t *testing.T, s *embedded.Server, subject, level string) {
	t.Helper()
	url := strings.TrimSuffix(s.RegistryURL()+"/config/"+subject, "/")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(`{"compatibility":"`+level+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("set level %s: %s", level, resp.Status)
	}
}

// refused wants that output on the standard output and exit code 1.
func (r result) refused(t *testing.T, want ...string) {
	t.Helper()
	if r.code != exitFailure || !strings.Contains(r.stderr, "must not be deployed") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	r.says(t, want...)
}

func (r result) says(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(r.stdout, w) {
			t.Errorf("%q is not in\n%s", w, r.stdout)
		}
	}
}

func TestSchemaCheckAgainstTheRegistry(t *testing.T) {
	s := server(t)
	file := schemaFile(t, "note.avsc", noteSchema)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(args ...string) result { return runIn(t, s, append([]string{"schema", "check", file}, args...)...) }

	if got := check().ok(t).stdout; got != file+": demo.Note: ok: new: the registry has no version of it\n" {
		t.Errorf("a new subject: %q", got)
	}
	runIn(t, s, "schema", "register", file).ok(t)
	check().ok(t).says(t, "registered already, as demo.Note@1")

	write(noteWith(by))
	check().refused(t,
		file+": demo.Note: 1 problem: compared with demo.Note@1, the only version (BACKWARD)\n"+
			"  demo.Note@1: by: new agents cannot read old messages: ",
		"(READER_FIELD_MISSING_DEFAULT_VALUE): give field by a default\n",
		"a breaking change needs a new message type: name it note.taken.v2",
	)
	check("--level", "forward").ok(t).says(t, "(FORWARD)")
	check("--level", "NONE").ok(t).says(t, "only its type is compared, with that of demo.Note@1 (NONE)")
	setLevel(t, s, "", "NONE")
	check().ok(t).says(t, "the registry's level for it is NONE; --level FULL_TRANSITIVE compares all")
	setLevel(t, s, "demo.Note", "FORWARD")
	check().ok(t).says(t, "(FORWARD)")

	// From one version to the next each is compatible, from the first to the last not.
	runIn(t, s, "schema", "register", file).ok(t)
	write(noteWith(strings.Replace(by, "}", `,"default":""}`, 1)))
	runIn(t, s, "schema", "register", file).ok(t)
	write(noteSchema + " ")
	check("--level", "FORWARD").ok(t).says(t, "compared with demo.Note@3, the latest of 3 versions (FORWARD)")
	check("--level", "FORWARD_TRANSITIVE").refused(t, "compared with all 3 versions up to demo.Note@3", "  demo.Note@2: by: old agents cannot read new messages: ", "keep field by")
	check().ok(t).says(t, "registered already, as demo.Note@1") // the registry takes it back

	write(strings.Replace(noteSchema, "note.taken", "note.made", 1))
	check("--level", "NONE").refused(t, "demo.Note@3: the message type was note.taken and is \"note.made\" (MESSAGE_TYPE_CHANGED)")
}

func TestSchemaCheckSaysWhatAFileLacks(t *testing.T) {
	s := server(t)
	good := schemaFile(t, "good.avsc", noteSchema)
	again := schemaFile(t, "again.avsc", noteSchema)
	broken := schemaFile(t, "broken.avsc", `{"type":"record"`)
	text := schemaFile(t, "text.avsc", `"string"`)
	untyped := schemaFile(t, "untyped.avsc", `{"type":"record","name":"demo.Untyped","fields":[]}`)
	got := runIn(t, s, "schema", "check", good, broken, good, text, untyped, again)
	got.refused(t,
		good+": demo.Note: ok", broken+": 1 problem\n  not an Avro schema", text+": 1 problem\n  a schema of type string: a message is a record",
		untyped+": demo.Untyped: 1 problem", "MESSAGE_TYPE_MISSING", again+": demo.Note: 1 problem", good+" has the record demo.Note too (RECORD_IN_TWO_FILES)",
	)
	if !strings.Contains(got.stderr, "4 of 5 schemas") {
		t.Error(got.stderr)
	}

	var report struct {
		Compatible bool
		Checks     []evolution.Report
	}
	answer := runIn(t, s, "schema", "check", "--json", good, untyped)
	if err := json.Unmarshal([]byte(answer.stdout), &report); err != nil {
		t.Fatal(err)
	}
	if answer.code != exitFailure || report.Compatible || len(report.Checks) != 2 ||
		report.Checks[0].Problems == nil || report.Checks[1].Problems[0].Rule != evolution.RuleNoType {
		t.Errorf("%d, %+v", answer.code, report)
	}
}

func TestSchemaCheckThatCannotBeMade(t *testing.T) {
	s := server(t)
	file := schemaFile(t, "note.avsc", noteSchema)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "requires at least 1 arg"},
		{[]string{"no-such.avsc"}, "no-such.avsc"},
		{[]string{file, "--level", "SIDEWARD"}, "--level: \"SIDEWARD\" is not a compatibility level"},
		{[]string{file, "--against-git", ""}, "--against-git names no revision"},
		{[]string{file, "--against-git", "HEAD"}, "git"},
		{[]string{file, "--against-git", "--all"}, "not a git revision"},
	} {
		runIn(t, s, append([]string{"schema", "check"}, c.args...)...).failed(t, exitUsage, c.want)
	}
	runIn(t, nil, "schema", "check", file, "--registry", "http://127.0.0.1:1").failed(t, exitUsage, "not checked: "+file+": schema registry http://127.0.0.1:1 cannot be reached")
	runIn(t, nil, "schema", "check", file, "--registry", "nowhere").failed(t, exitUsage, "--registry")
}

// repository is a git repository of the test with a first commit of these files.
func repository(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	inGit(t, dir, "init", "-q")
	writeFiles(t, dir, files)
	inGit(t, dir, "add", ".")
	inGit(t, dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "first")
	return dir
}

func inGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSchemaCheckAgainstGit(t *testing.T) {
	other := strings.Replace(noteSchema, "Note", "Other", 1)
	dir := repository(t, map[string]string{"avro/note.avsc": noteSchema, "avro/other.avsc": other, "avro/broken.avsc": "{"})
	check := func(name string, args ...string) result {
		return runIn(t, nil, append([]string{"schema", "check", filepath.Join(dir, name), "--against-git", "HEAD"}, args...)...)
	}

	check("avro/note.avsc").ok(t).says(t, "compared with one older version, HEAD:avro/note.avsc (FULL_TRANSITIVE)")
	writeFiles(t, dir, map[string]string{"avro/note.avsc": noteWith(by)})
	check("avro/note.avsc").refused(t, "  HEAD:avro/note.avsc: by: new agents cannot read old messages: ")
	check("avro/note.avsc", "--level", "FORWARD").ok(t)

	// New in a folder that is there, and in one that is not.
	writeFiles(t, dir, map[string]string{
		"avro/third.avsc":    strings.Replace(noteSchema, "Note", "Third", 1),
		"fresh/fourth.avsc":  strings.Replace(noteSchema, "Note", "Fourth", 1),
		"avro/broken.avsc":   strings.Replace(noteSchema, "Note", "Mended", 1),
		"avro/replaced.avsc": noteWith(by),
	})
	check("avro/third.avsc").ok(t).says(t, "new: no .avsc file of its folder has it at HEAD")
	check("fresh/fourth.avsc").ok(t).says(t, "new: ")
	check("avro/broken.avsc").refused(t, "HEAD:avro/broken.avsc: not an Avro schema", "OLDER_VERSION_UNUSABLE")

	// The record stood in another file.
	if err := os.Remove(filepath.Join(dir, "avro/note.avsc")); err != nil {
		t.Fatal(err)
	}
	check("avro/replaced.avsc").refused(t, "  HEAD:avro/note.avsc: by: ")

	// The file has another record now. Its former one is gone, or is in another file.
	writeFiles(t, dir, map[string]string{"avro/other.avsc": strings.Replace(noteSchema, "Note", "Renamed", 1)})
	check("avro/other.avsc").refused(t, "HEAD:avro/other.avsc: ", "NAME_MISMATCH")
	writeFiles(t, dir, map[string]string{"avro/moved.avsc": other})
	check("avro/other.avsc").ok(t).says(t, "new: ")
	check("avro/moved.avsc").ok(t).says(t, "compared with one older version, HEAD:avro/other.avsc")

	runIn(t, nil, "schema", "check", filepath.Join(dir, "avro/moved.avsc"), "--against-git", "nowhere").failed(t, exitUsage, "git knows no revision nowhere")
}
