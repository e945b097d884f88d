//go:build !synctests

package streamtest_test

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSimulation runs the simulation in a build of its own, with the tag that it
// needs, so that one command without a tag does it.
func TestSimulation(t *testing.T) {
	launch(t, "TestSimulation|TestACalmClusterRunsEachHandlerOnce|TestOnlyTheGuiltyDieOfACrash|TestScheduledMessagesInLittleRoom|TestTheExample|TestTakeoverThatNobodyHearsOf|TestPartsOutliveTwoCrashes", *seeds)
}

// TestPatterns runs the patterns by which agents coordinate under faults, each with so
// many seeds.
func TestPatterns(t *testing.T) {
	launch(t, `Test\w+UnderFaults`, *patternSeeds)
}

func launch(t *testing.T, tests string, n int) {
	t.Helper()
	args := []string{
		"test", "-tags", "synctests", "-count=1", "-v", "-run", "^(" + tests + ")$", ".",
		"-seeds", fmt.Sprint(n), "-seed", fmt.Sprint(*firstSeed), fmt.Sprintf("-keep=%t", *keep),
	}
	if *traces != "" {
		dir, err := filepath.Abs(*traces)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "-traces", dir)
	}
	if end, ok := t.Deadline(); ok {
		args = append(args, "-timeout", (time.Until(end) - 5*time.Second).Truncate(time.Second).String())
	} else {
		args = append(args, "-timeout", "0")
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if line := lines.Text(); !strings.HasPrefix(line, "=== ") && !strings.Contains(line, "--- PASS") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
