package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

func TestFolderInUseByThisProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir})
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	var inUse *embedded.FolderInUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() || inUse.Dir != dir {
		t.Fatalf("second start: %v", err)
	}
	oneLine(t, err)
}

func TestFolderInUseByAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir)
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	var inUse *embedded.FolderInUseError
	if !errors.As(err, &inUse) || inUse.PID != c.cmd.Process.Pid {
		t.Fatalf("start in use by %d: %v", c.cmd.Process.Pid, err)
	}
	oneLine(t, err)
	c.kill()
	start(t, embedded.Config{Dir: dir}) // the lock ended with the process
}

func TestFolderIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"foreign":             {map[string]string{"thesis.txt": "x"}, "holds other files"},
		"later format":        {map[string]string{"parley.json": `{"format":2}`}, "format 2"},
		"damaged format":      {map[string]string{"parley.json": `{`}, "cannot be read"},
		"format is no number": {map[string]string{"parley.json": `{"format":"x"}`}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range tc.files {
				must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
			}
			_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
			var bad *embedded.FolderFormatError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("start: %v, want %q", err, tc.want)
			}
			oneLine(t, err)
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(entries) != len(tc.files) {
				t.Errorf("something was written: %v", entries)
			}
		})
	}
}

func TestFolderIsAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, nil, 0o644))
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: path})
	var bad *embedded.FolderFormatError
	if !errors.As(err, &bad) {
		t.Fatalf("start: %v", err)
	}
	oneLine(t, err)
}

func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = taken.Close() }()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		cfg  embedded.Config
		want string
	}{
		"broker address in use":   {t.Context(), embedded.Config{Listen: taken.Addr().String()}, "broker cannot listen"},
		"registry address in use": {t.Context(), embedded.Config{RegistryListen: taken.Addr().String()}, "registry cannot listen"},
		"no port":                 {t.Context(), embedded.Config{Listen: "localhost"}, "not host:port"},
		"bad port":                {t.Context(), embedded.Config{Listen: "localhost:70000"}, "port must be"},
		"no host":                 {t.Context(), embedded.Config{Listen: ":9092"}, "must name the host"},
		"unspecified host":        {t.Context(), embedded.Config{RegistryListen: "0.0.0.0:8081"}, "must name the host"},
		"cancelled":               {cancelled, embedded.Config{}, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			tc.cfg.Dir = dir
			_, err := embedded.Start(tc.ctx, tc.cfg)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("start: %v, want %q", err, tc.want)
			}
			oneLine(t, err)
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("folder was made: %v", err)
			}
		})
	}
}

func TestAllConfigErrorsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := embedded.Start(t.Context(), embedded.Config{Listen: "a", RegistryListen: "b"})
	if err == nil || !strings.Contains(err.Error(), `broker address "a"`) || !strings.Contains(err.Error(), `registry address "b"`) {
		t.Errorf("start: %v", err)
	}
}

// A process killed while it makes a new folder leaves one that can be used.
func TestHalfMadeFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "parley.lock"), []byte("1\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "parley.json.tmp"), []byte("{"), 0o644))
	start(t, embedded.Config{Dir: dir})
}

func TestDamagedRegistryIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON":           `{`,
		"later format":       `{"format":2}`,
		"ID above the last":  `{"format":1,"last_id":1,"schemas":{"2":{"schema":"\"int\""}}}`,
		"version of nothing": `{"format":1,"last_id":1,"subjects":{"a":{"last_version":1,"versions":[{"version":1,"id":1}]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := start(t, embedded.Config{Dir: dir})
			stop(t, s)
			must(t, os.WriteFile(filepath.Join(dir, "registry.json"), []byte(text), 0o644))
			_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
			if err == nil || !strings.Contains(err.Error(), "registry.json") {
				t.Fatalf("start: %v", err)
			}
			oneLine(t, err)
		})
	}
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 250 {
		t.Errorf("not one clear line: %v", err)
	}
}
