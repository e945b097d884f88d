package streamtest_test

import (
	"flag"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

var (
	seeds        = flag.Int("seeds", 20, "simulations to run")
	patternSeeds = flag.Int("pattern-seeds", 10, "simulations of each pattern to run")
	firstSeed    = flag.Uint64("seed", 0, "first seed; 0: drawn and printed")
	keep         = flag.Bool("keep", false, "save the traces of all seeds, not of failures only")
	traces       = flag.String("traces", "", "folder for the traces of failures; default: that of temporary files")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // a simulation allocates much and keeps little
	goleak.VerifyTestMain(m)
}
