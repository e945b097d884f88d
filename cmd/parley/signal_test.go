package main_test

import (
	"bufio"
	"encoding/json"
	"io"
	"path/filepath"
	"syscall"
	"testing"
)

// TestBrokerEndsCleanlyOnSIGTERM runs the built command: signals are handled in
// main alone.
func TestBrokerEndsCleanlyOnSIGTERM(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	serve := func() (stop func()) {
		cmd := command(t, "broker", "--data", dir, "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--json")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		line, err := lines.ReadBytes('\n')
		var addresses struct{ Brokers []string }
		if json.Unmarshal(line, &addresses) != nil || len(addresses.Brokers) != 1 {
			t.Fatalf("the broker says %q (%v)", line, err)
		}
		return func() {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if rest, _ := io.ReadAll(lines); len(rest) > 0 {
				t.Errorf("more than one object: %q", rest)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
		}
	}
	serve()()
	serve()() // the folder is free again
}
