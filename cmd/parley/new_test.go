package main

import (
	"bytes"
	"go/format"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/cmd/parley/scaffold"
)

// contents are the files below a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		all[strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(dir)+"/")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// goIn runs the go command in a module, without a network.
func goIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// What was written is a module whose test passes, and its types are those that go
// generate makes of its schemas.
func TestNewAgent(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"price-watch", "3d"} {
		dir := filepath.Join(t.TempDir(), "of it's own")
		out := runIn(t, nil, "new", "agent", name, "--dir", dir).ok(t).stdout
		if !strings.Contains(out, `of it'\''s own' && go mod tidy && go test .`) || !strings.Contains(out, "-replace "+scaffold.Parley) {
			t.Errorf("printed:\n%s", out)
		}
		written := contents(t, dir)
		for _, file := range slices.Sorted(maps.Keys(written)) {
			if !strings.Contains(out, filepath.Join(dir, file)+"\n") {
				t.Errorf("%s is not named in\n%s", file, out)
			}
			if text := []byte(written[file]); filepath.Ext(file) == ".go" {
				if formatted, err := format.Source(text); err != nil || !bytes.Equal(formatted, text) {
					t.Errorf("%s is not as gofmt has it: %v", file, err)
				}
			}
		}
		if !strings.HasPrefix(written["go.mod"], "module "+name+"\n") {
			t.Errorf("go.mod:\n%s", written["go.mod"])
		}

		// All of the platform's requirements, as go mod tidy would write them.
		mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		_, requirements, _ := strings.Cut(string(mod), "\ngo ")
		_, requirements, _ = strings.Cut(requirements, "\n")
		writeText(t, filepath.Join(dir, "go.mod"), written["go.mod"]+requirements+
			"\nrequire "+scaffold.Parley+" v0.0.0\nreplace "+scaffold.Parley+" => "+root+"\n")
		writeText(t, filepath.Join(dir, "go.sum"), string(sums))
		goIn(t, dir, "vet", "./...")
		goIn(t, dir, "test", "-count=1", ".")
		if name == "price-watch" {
			runAndAsk(t, dir)
		}
		goIn(t, dir, "generate", "./...")
		if again := contents(t, dir)["messages_gen.go"]; again != written["messages_gen.go"] {
			t.Errorf("go generate writes other types:\n%s", again)
		}
	}
}

// runAndAsk runs the program that was written on a broker, and asks it.
func runAndAsk(t *testing.T, dir string) {
	t.Helper()
	s := server(t)
	binary := filepath.Join(t.TempDir(), "agent")
	goIn(t, dir, "build", "-o", binary, ".")
	agent := exec.CommandContext(t.Context(), binary)
	agent.Env = append(os.Environ(), "PARLEY_BROKERS="+s.Brokers()[0], "PARLEY_REGISTRY="+s.RegistryURL())
	var said strings.Builder
	agent.Stderr = &said
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		var err error
		// There is no inbox until the agent has made it.
		answer, err = exec.CommandContext(t.Context(), binary, "--brokers", s.Brokers()[0], "--registry", s.RegistryURL(), "--ask", "Who is there?").Output()
		if err == nil || time.Since(begin) > 20*time.Second {
			break
		}
	}
	if string(answer) != "You asked: Who is there?\n" {
		t.Errorf("the answer is %q", answer)
	}
	if err := agent.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent has not ended well: %v\n%s", err, said.String())
	}
}

func TestNewAgentInAModule(t *testing.T) {
	root := t.TempDir()
	writeText(t, filepath.Join(root, "go.mod"), "module example.com/mine\n")
	dir := filepath.Join(root, "agents", "time")
	out := runIn(t, nil, "new", "agent", "time", "--dir", dir).ok(t).stdout
	if want := "Next: cd " + dir + " && go get -tool " + scaffold.Parley + "/schemas/avrogen@latest && go mod tidy && go test .\n"; !strings.HasSuffix(out, want) {
		t.Errorf("printed:\n%s\nwant %s", out, want)
	}
	if _, there := contents(t, dir)["go.mod"]; there {
		t.Error("a module in a module was written")
	}
}

func TestNewAgentRefuses(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	writeText(t, "mod/go.mod", "module example.com/mine\n")
	writeText(t, "readme/README.md", "mine")
	writeText(t, "both/main.go", "package main")
	writeText(t, "both/avro/answer.avsc", "{}")
	writeText(t, "library/library.go", "package library")
	writeText(t, "file", "")
	before := contents(t, root)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "accepts 1 arg(s)"},
		{"Greeter", exitUsage, "may hold a to z, 0 to 9 and - only"},
		{"../greeter", exitUsage, "may hold a to z"},
		{"-- -greeter", exitUsage, "begins with a hyphen"},
		{strings.Repeat("a", 59), exitUsage, "has 59 bytes"},
		{"time", exitUsage, "name another module path, such as example.com/time"},
		{"main", exitUsage, "name another module path"},
		{"greeter --module fmt/greeter", exitUsage, "taken by Go itself"},
		{"greeter --module a..b//c", exitUsage, "is no module path"},
		{"greeter --module example.com/greeter --dir mod/greeter", exitUsage, "leave it out"},
		{"greeter --dir readme", exitFailure, filepath.Join("readme", "README.md") + " is there already"},
		{"greeter --dir both", exitFailure, filepath.Join("both", "avro", "answer.avsc") + " is there already; " + filepath.Join("both", "main.go") + " is there already"},
		{"greeter --dir library", exitFailure, filepath.Join("library", "library.go") + " is of another program"},
		{"greeter --dir file", exitFailure, "not a directory"},
	} {
		r := runIn(t, nil, append([]string{"new", "agent"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %s; want %d, %s", c.args, r.code, r.stderr, c.code, c.want)
		}
		if after := contents(t, root); !maps.Equal(after, before) {
			t.Fatalf("%s: files were changed: %v", c.args, slices.Sorted(maps.Keys(after)))
		}
	}
}

// A module of its own requires the version that the command was built from.
func TestNewAgentRequiresItsVersion(t *testing.T) {
	for built, want := range map[string]string{"v1.2.3": "v1.2.3", "v1.2.4-0.20261124200000-0123456789ab+dirty": "v1.2.4-0.20261124200000-0123456789ab", "development": ""} {
		if got := required(built); got != want {
			t.Errorf("%s: %s", built, got)
		}
	}
	files, err := scaffold.Agent{Name: "greeter", Module: "example.com/greeter", Version: "v1.2.3"}.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path == "go.mod" && !strings.Contains(string(f.Text), "\nrequire "+scaffold.Parley+" v1.2.3\n") {
			t.Errorf("go.mod:\n%s", f.Text)
		}
	}
}

// The names that Go keeps for itself are all known.
func TestNoModuleIsCalledLikeGosOwn(t *testing.T) {
	for _, path := range strings.Fields(goIn(t, ".", "list", "std", "cmd")) {
		if scaffold.ValidModule(path) == nil {
			t.Errorf("%s is taken for a module's path", path)
		}
	}
	for _, path := range []string{"greeter", "price-watch", "3d", "example.com/time", "github.com/a/b.c", "test"} {
		if err := scaffold.ValidModule(path); err != nil {
			t.Error(err)
		}
	}
}
