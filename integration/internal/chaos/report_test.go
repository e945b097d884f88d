package chaos

import (
	"strings"
	"testing"
)

func TestRunsOfACommitAddUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := Result{
		Commit: "abc", Scenario: "chain", Acknowledged: 1_000_000, Redeliveries: 5, Passed: true,
		Happened: Happened{Kills: 15, Freezes: 11, LongFreezes: 10, Cuts: 10},
	}
	other := run
	other.Commit = "def"
	for _, r := range []Result{run, other, run} {
		if err := r.Append(dir); err != nil {
			t.Fatal(err)
		}
	}
	results, err := ReadResults(dir, "abc")
	if err != nil || len(results) != 2 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if sum := Sum(results); sum.Acknowledged != 2_000_000 || sum.Kills != 30 || sum.LongFreezes != 20 || sum.Cuts != 20 || !sum.Passed {
		t.Errorf("%+v", sum)
	}
	if s := Summary(results); !strings.Contains(s, "the goal is reached") {
		t.Error(s)
	}
	for what, spoil := range map[string]func(*Result){
		"SIGKILLs":         func(r *Result) { r.Kills-- },
		"messages":         func(r *Result) { r.Acknowledged-- },
		"a run has failed": func(r *Result) { r.Passed = false },
	} {
		spoilt := run
		spoil(&spoilt)
		if s := Summary([]Result{run, spoilt}); !strings.Contains(s, "not reached") || !strings.Contains(s, what) {
			t.Errorf("%s: %s", what, s)
		}
	}
	if none, err := ReadResults(t.TempDir(), "abc"); none != nil || err != nil {
		t.Errorf("no report file: %v, %v", none, err)
	}
}
