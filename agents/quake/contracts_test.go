package quake

import (
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestContracts(t *testing.T) {
	t.Parallel()
	all := []contract.Contract{FeedContract()}
	for _, a := range Agents(agents.Config{}, Options{}) {
		all = append(all, a.Contract())
	}
	for _, c := range all {
		streamtest.CheckContracts(t, "contracts/"+c.Agent+".json", c)
	}
	for _, f := range contract.Check(all) {
		t.Error(f)
	}
}
