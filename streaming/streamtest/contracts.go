package streamtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

// UpdateContracts is the environment variable that, set to 1, makes
// CheckContracts write contract files anew.
const UpdateContracts = "PARLEY_UPDATE_CONTRACTS"

// CheckContracts fails the test where the contract that is kept in file differs
// from own, the agent's present one, and where own does not fit to others: the
// contracts of all agents that it sends to or reads from, external senders
// included. What others have among themselves is left to their own tests.
// Without others only the file is held against own.
//
// Run with PARLEY_UPDATE_CONTRACTS=1, it writes the file instead of comparing it.
func CheckContracts(t testing.TB, file string, own contract.Contract, others ...contract.Contract) {
	t.Helper()
	want, err := own.JSON()
	if err != nil {
		t.Fatalf("the contract of agent %s: %v", own.Agent, err)
	}
	if os.Getenv(UpdateContracts) == "1" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else {
		kept(t, file, own.Agent, want)
	}
	if len(others) == 0 {
		return
	}
	for _, f := range contract.Check(append([]contract.Contract{own}, others...)) {
		if f.Agent != own.Agent && !slices.Contains(f.Others, own.Agent) {
			continue
		}
		if f.Severity == contract.SeverityError {
			t.Error(f)
		} else {
			t.Log(f)
		}
	}
}

// kept compares what a file says, not how it is indented.
func kept(t testing.TB, file, agent string, want []byte) {
	t.Helper()
	committed, err := contract.Read(file)
	var got []byte
	if err == nil {
		got, err = committed.JSON()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.Errorf("agent %s has no contract file %s: run the test with %s=1 and commit it", agent, file, UpdateContracts)
	case err != nil:
		t.Error(err)
	case string(got) != string(want):
		t.Errorf("agent %s has changed its contract, and %s does not say so: run the test with %s=1 and review the difference; now it is\n%s", agent, file, UpdateContracts, want)
	}
}
