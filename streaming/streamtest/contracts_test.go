package streamtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

// failures is a test that notes what it is told.
type failures struct {
	testing.TB
	said []string
}

func (f *failures) Helper()           {}
func (f *failures) Log(args ...any)   {}
func (f *failures) Error(args ...any) { f.said = append(f.said, fmt.Sprint(args...)) }
func (f *failures) Errorf(format string, a ...any) {
	f.said = append(f.said, fmt.Sprintf(format, a...))
}

func TestCheckContracts(t *testing.T) {
	port := func(typ string, at contract.Place) []contract.Port {
		return []contract.Port{{Type: "note", At: []contract.Place{at}, Schema: json.RawMessage(
			`{"type":"record","name":"Note","parley.type":"note","fields":[{"name":"n","type":"` + typ + `"}]}`)}}
	}
	own := contract.Contract{Agent: "b", Consumes: port("int", contract.Inbox("b"))}
	fits := contract.Contract{Agent: "a", Produces: port("int", contract.Inbox("b"))}
	other := contract.Contract{Agent: "a", Produces: port("string", contract.Inbox("b"))}
	stranger := contract.Contract{Agent: "s", Produces: port("int", contract.Stream("nowhere"))}
	file := filepath.Join(t.TempDir(), "deep", "contract.json")
	check := func(want string, own contract.Contract, others ...contract.Contract) {
		t.Helper()
		f := &failures{TB: t}
		CheckContracts(f, file, own, others...)
		switch said := strings.Join(f.said, "\n"); {
		case want == "" && said != "", want != "" && len(f.said) != 1, !strings.Contains(said, want):
			t.Errorf("says %q, want %q", said, want)
		}
	}
	check("has no contract file", own)
	t.Setenv(UpdateContracts, "1")
	check("", own)
	t.Setenv(UpdateContracts, "")
	check("", own)
	check("", own, fits)
	check("", own, fits, stranger) // what is wrong with others is left to them
	check("agent b cannot read all of note that agent a sends", own, other)
	changed := own
	changed.Consumes = port("long", contract.Inbox("b"))
	check("agent b has changed its contract", changed)
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("not the JSON of a contract", own)
}
