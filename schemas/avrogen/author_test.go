package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAuthor goes an author's way in a module of its own: schemas beside the
// code, go generate, go test; then it edits a schema, generates again, and what
// was written before is read.
func TestAuthor(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/author")); err != nil {
		t.Fatal(err)
	}
	edited := filepath.Join(t.TempDir(), "edited")
	if err := os.Rename(filepath.Join(dir, "edited"), edited); err != nil {
		t.Fatal(err)
	}
	// All of the platform's requirements stand in it, as go mod tidy would write
	// them, so that nothing has to be looked up.
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, requirements, ok := strings.Cut(string(mod), "\n")
	if !ok {
		t.Fatal("go.mod has one line")
	}
	write(t, dir, "go.mod", "module author.example/orders\n"+requirements+`
require github.com/seed-c9b6dc07/parley v0.0.0
replace github.com/seed-c9b6dc07/parley => `+root+`
tool github.com/seed-c9b6dc07/parley/schemas/avrogen
`)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "go.sum", string(sums))

	goIn(t, dir, "generate", "./...")
	goIn(t, dir, "vet", "./...")
	goIn(t, dir, "test", "-count=1", "./...")

	for from, to := range map[string]string{"order.avsc": "avro/order.avsc", "edited_test.go": "edited_test.go"} {
		if err := os.Rename(filepath.Join(edited, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "orders_test.go")); err != nil {
		t.Fatal(err)
	}
	goIn(t, dir, "generate", "./...")
	goIn(t, dir, "test", "-count=1", "./...")
}

// goIn runs the go command in a module, without a network, and in UTC: elsewhere
// local timestamps are off around a change of the clock.
func goIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
