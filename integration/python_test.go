//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// python runs the scripts of docs/python.md as they stand there, in a folder of
// the test's own.
type python struct {
	exe, dir string
	env      []string
}

// environment is made once, as `make python` does.
var environment = sync.OnceValues(func() (exe string, err error) {
	if out, err := exec.Command("../scripts/python.sh").CombinedOutput(); err != nil {
		return "", errors.New("no Python for the tests: " + strings.TrimSpace(string(out)))
	}
	return filepath.Abs("../bin/python/bin/python")
})

var fence = regexp.MustCompile("(?ms)^```(\\S+)(?: title=(\\S+))?\n(.*?)^```$")

func newPython(t *testing.T, broker, registry, namespace string) *python {
	t.Helper()
	exe, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	p := &python{exe: exe, dir: t.TempDir()}
	p.env = append(os.Environ(), "PARLEY_BROKERS="+broker, "PARLEY_REGISTRY="+registry, "PARLEY_NAMESPACE="+namespace, "PYTHONWARNINGS=error::DeprecationWarning")
	page, err := os.ReadFile("../docs/python.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range fence.FindAllSubmatch(page, -1) {
		if string(block[1]) != "python" || len(block[2]) == 0 {
			t.Fatalf("docs/python.md has a block that is not run:\n%s", block[0])
		}
		p.add(t, string(block[2]), block[3])
	}
	for _, pattern := range []string{"../agents/quake/avro/*.avsc", "python/*.py"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			p.add(t, filepath.Base(f), text)
		}
	}
	return p
}

func (p *python) add(t *testing.T, name string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *python) command(ctx context.Context, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(ctx, p.exe, args...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, stdout, stderr
	return cmd, stdout, stderr
}

// try returns what a script prints.
func (p *python) try(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, out, problems := p.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// run is try for a script that has to succeed.
func (p *python) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := p.try(t, stdin, args...)
	if err != nil {
		t.Fatalf("python %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// start runs a script until the test ends, and wants a clean end.
func (p *python) start(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	cmd, _, stderr := p.command(ctx, args...)
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the end of python %s: %v\n%s", strings.Join(args, " "), err, stderr)
		}
	})
}

// pythonMessage is a line that send.py takes.
type pythonMessage struct {
	ID      string            `json:"id,omitempty"`
	Key     string            `json:"key,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Payload any               `json:"payload"`
}

func (p *python) send(t *testing.T, topic, schema string, messages ...pythonMessage) {
	t.Helper()
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, m := range messages {
		if err := enc.Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	p.run(t, lines.String(), "send.py", topic, schema)
}

// pythonRead is a line that read.py prints.
type pythonRead struct {
	Key       string
	Partition int32
	Headers   map[string]any
	Payload   map[string]any
}

func (p *python) read(t *testing.T, group, topic, n string) []pythonRead {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(p.run(t, "", "read.py", group, topic, n)))
	var read []pythonRead
	for dec.More() {
		var m pythonRead
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		read = append(read, m)
	}
	return read
}
