//go:build synctests

package streamtest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// TestSimulation runs a cluster of workers from many seeds, half of them at
// least once and half exactly once.
func TestSimulation(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	t.Logf("first seed %d; go test ./streaming/streamtest -run Simulation -seeds %d -seed %d", first, *seeds, first)
	var mu sync.Mutex
	total := map[string]int{}
	var input, runs, violations int
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+uint64(*seeds); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				o := streamtest.Simulate(t, seed, draw(seed).simulation())
				mu.Lock()
				defer mu.Unlock()
				for what, n := range o.Hits {
					total[what] += n
				}
				for _, f := range draw(seed).features() {
					total[f]++
				}
				input, runs, violations = input+o.Input, runs+o.Runs, violations+len(o.Violations)
				if *seeds == 1 {
					t.Logf("fault schedule: %s\nhits: %v\n%s of virtual time", o.Plan, o.Hits, o.Virtual)
				}
			})
		}
	})
	t.Logf("%d seeds from %d: %d input records, %d runs of handlers, %d violations", *seeds, first, input, runs, violations)
	reportCoverage(t, total)
}

// enough is how often each crash point and fault has to happen in a thousand
// seeds.
const enough = 20

// reportCoverage prints how often each crash point and fault has happened. Many
// seeds have to hit each of them often.
func reportCoverage(t *testing.T, total map[string]int) {
	t.Helper()
	names := append(streamtest.Troubles(false), streamtest.Troubles(true)...)
	for what := range total {
		names = append(names, what)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, what := range names {
		t.Logf("%7d %s", total[what], what)
	}
	if *seeds < 1000 {
		return
	}
	for _, what := range names {
		if total[what] < enough && !unplanned[what] {
			t.Errorf("%s has happened %d times in %d seeds; at least %d are needed", what, total[what], *seeds, enough)
		}
	}
}

// weakened is counted for each agent at least once of which two workers have been at
// work on one partition.
const weakened = "at least once: promise weakened by a takeover"

// unplanned is what may happen, and need not.
var unplanned = map[string]bool{
	"gave up": true, "member thrown out": true, "jammed group of the fake broker": true,
	"dead member kept by the fake broker": true,
}

func TestACalmClusterRunsEachHandlerOnce(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		s := draw(seed).simulation()
		s.Calm = true
		if o := streamtest.Simulate(t, seed, s); o.Plan != "no faults" || o.Input != 200 {
			t.Errorf("%d records under %s", o.Input, o.Plan)
		}
	}
}

// A handler that kills its process each time ends dead as crash, and it alone:
// not what ran beside it. A lane starts as many copies in doubt as it has handlers
// side by side: where these are few the guilty one is not among the first.
func TestOnlyTheGuiltyDieOfACrash(t *testing.T) {
	for seed := range uint64(8) {
		w := world{
			seed: seed, exactlyOnce: seed%2 == 1, protocol: kafka.ProtocolClassic,
			killer: true, narrow: seed%4 < 2, steps: seed < 4,
		}
		s := w.simulation()
		s.Calm = true
		o := streamtest.Simulate(t, seed, s)
		if kills := o.Hits["handler kills its process"]; o.Dead["crash"] != 1 || kills < 2 || kills > 15 {
			t.Errorf("seed %d: after %d kills there are dead letters %v; want one crash", seed, kills, o.Dead)
		}
	}
}

// A value that is in memory must not wait for one that has no room there: a
// scheduled message, fetched as it was due, behind an older one of its key.
func TestScheduledMessagesInLittleRoom(t *testing.T) {
	for seed := range uint64(6) {
		w := world{seed: seed, exactlyOnce: seed%2 == 1, protocol: kafka.ProtocolClassic, narrow: true, scheduled: true}
		s := w.simulation()
		s.Calm = true
		streamtest.Simulate(t, seed, s)
	}
}

// The example of Simulate does what it says.
func TestTheExample(t *testing.T) {
	for seed := range uint64(4) {
		if o := streamtest.Simulate(t, seed, greetings); o.Input < 200 || o.Runs < 200 {
			t.Errorf("%d messages, %d runs", o.Input, o.Runs)
		}
	}
}
