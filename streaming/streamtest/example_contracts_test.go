package streamtest_test

import (
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// An agent's contract file is kept current, and fits to those of its neighbours.
func ExampleCheckContracts() {
	_ = func(t *testing.T) { // TestContract, beside the agent
		dispatch := quake.Dispatcher(agents.Config{}).Contract()
		triage, notify := quake.Triage(agents.Config{}).Contract(), quake.Notifier(agents.Config{}, nil).Contract()
		streamtest.CheckContracts(t, "contract.json", dispatch, triage, notify)
	}
	// Output:
}
