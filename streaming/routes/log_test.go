package routes_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

type record struct {
	key     string
	version int64
	by      string
}

func replay(log *routes.Log, offset int64, recs ...record) {
	for i, r := range recs {
		e := routes.Entry{Key: r.key, Version: r.version, Offset: offset + int64(i)}
		if r.version > 0 && r.by != "unreadable" {
			e.Set = &schemas.RouteSet{Version: r.version, By: r.by}
		}
		log.Take(e)
	}
}

func TestTheFirstOfAVersionCounts(t *testing.T) {
	t.Parallel()
	var log routes.Log
	replay(&log, 0, record{"4/a", 4, "first"}, record{"5/b", 5, "b"}, record{"5/c", 5, "c"}, record{"9/d", 9, "jumps"}, record{"6/e", 6, "e"}, record{"5/f", 5, "late"})
	if log.Version() != 6 {
		t.Error(log.Version())
	}
	if e, ok := log.Find(5); !ok || e.Set.By != "b" {
		t.Errorf("%+v", e)
	}
	var by []string
	for _, e := range log.Latest() {
		by = append(by, e.Set.By)
	}
	if !slices.Equal(by, []string{"e", "b", "first"}) {
		t.Error(by)
	}
	if got := log.Outdated(); !slices.Equal(got, []string{"5/c", "9/d", "5/f"}) {
		t.Error(got)
	}
	// What cannot be read takes its version, so that the next can follow.
	replay(&log, 6, record{"7/g", 7, "unreadable"}, record{"8/h", 8, "h"})
	if e, _ := log.Find(7); log.Version() != 8 || e.Set != nil {
		t.Errorf("%d %+v", log.Version(), e)
	}
	// The topic was made anew.
	replay(&log, 0, record{"1/x", 1, "x"})
	if log.Version() != 1 {
		t.Error(log.Version())
	}
}

// TestCompactionChangesNothing: whoever reads the topic after records were taken
// back and compacted away comes to the same set as who has read it all.
func TestCompactionChangesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var all []record
	var live routes.Log
	for i := range 200 {
		version := live.Version() + 1
		if r.IntN(4) == 0 {
			version = max(1, version-int64(r.IntN(30))) // somebody who is late
		}
		rec := record{fmt.Sprintf("%d/%d", version, i), version, fmt.Sprint(i)}
		all = append(all, rec)
		replay(&live, int64(len(all)-1), rec)
		if r.IntN(3) > 0 {
			for _, key := range live.Outdated() {
				all = append(all, record{key: key})
				replay(&live, int64(len(all)-1), all[len(all)-1])
			}
		}
		// Compaction has come up to somewhere: there the last of a key is left, and
		// perhaps not even that where it takes back.
		upTo := r.IntN(len(all) + 1)
		var fresh routes.Log
		for at, rec := range all {
			later := slices.ContainsFunc(all[at+1:max(upTo, at+1)], func(o record) bool { return o.key == rec.key })
			if at < upTo && (later || rec.version == 0) {
				continue
			}
			replay(&fresh, int64(at), rec)
		}
		want, got := live.Latest(), fresh.Latest()
		if live.Version() != fresh.Version() || got[0].Key != want[0].Key {
			t.Fatalf("after %d records, compacted up to %d: version %d of %s, not %d of %s", len(all), upTo, fresh.Version(), got[0].Key, live.Version(), want[0].Key)
		}
	}
	if n := len(live.Latest()); n < routes.Kept || n > routes.Kept+30 {
		t.Errorf("%d versions are left", n)
	}
}
