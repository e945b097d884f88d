package quake

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	at := team{latitude: 10, longitude: 170}
	for _, c := range []struct{ lat, lon, degrees float64 }{
		{10, 170, 0}, {-10, 170, 20}, {-10, -10, 180}, {10, -190, 0}, {90, 0, 80},
	} {
		want := c.degrees * math.Pi / 180 * earthRadius
		if got := at.distance(&Dispatch{Latitude: c.lat, Longitude: c.lon}); math.Abs(got-want) > 1e-3 {
			t.Errorf("to %v %v: %v km, want %v", c.lat, c.lon, got, want)
		}
	}
}

func TestRoster(t *testing.T) {
	t.Parallel()
	at := team{load: [4]float64{0, 1, 2, 3}}
	for hour, want := range map[int]float64{0: 0, 5: 0, 6: 1, 11: 1, 12: 2, 17: 2, 18: 3, 23: 3} {
		// An event's own time counts, whatever zone it is told in.
		when := time.Date(2018, 2, 6, hour, 59, 0, 0, time.UTC).In(time.FixedZone("", 5*3600))
		if got := at.loadAt(when); got != want {
			t.Errorf("%d h: load %v, want %v", hour, got, want)
		}
	}
}

func TestSomeTeamsGetStuck(t *testing.T) {
	t.Parallel()
	n := 0
	for i := range 10_000 {
		if Stuck(1, "team-tokyo", fmt.Sprint("us", i)) {
			n++
		}
	}
	if n < 1200 || n > 1800 {
		t.Errorf("%d of 10000, want about 1500", n)
	}
}
