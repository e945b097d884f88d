package quake

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
)

// VisitTask is the name of what is negotiated: who visits an event.
const VisitTask = "visit"

// Reach is how far a team goes, in kilometres.
const Reach = 7500

// team is a field team: where its base is, and its roster.
type team struct {
	name                string
	latitude, longitude float64
	// load is what the team has in hand already, by the quarter of the day (UTC)
	// in which the event happened: from 0, 6, 12 and 18 h on. 0 is nothing; 1 makes
	// each kilometre cost double.
	load [4]float64
}

var teams = []team{
	{"team-anchorage", 61.22, -149.90, [4]float64{0, 0.5, 1, 0}},
	{"team-jakarta", -6.21, 106.85, [4]float64{0, 0, 0.5, 1}},
	{"team-rome", 41.90, 12.50, [4]float64{1, 0, 0, 0.5}},
	{"team-santiago", -33.45, -70.67, [4]float64{0.5, 1, 0, 0}},
	{"team-tokyo", 35.68, 139.69, [4]float64{0, 0, 1, 2}},
}

// TeamNames are the names of all field teams.
func TeamNames() []string {
	names := make([]string, len(teams))
	for i, t := range teams {
		names[i] = t.name
	}
	return names
}

// agent is the team at work. What it bids is a function of team and event alone: the
// distance in kilometres, times 1 + load.
func (t team) agent(cfg agents.Config, seed uint64) *agents.Agent {
	a := agents.New(t.name, cfg)
	agents.ProducesNothing(a) // but what the negotiation sends
	contractnet.Bid(a, VisitTask, func(_ context.Context, c *contractnet.Call[Dispatch]) (contractnet.Offer, error) {
		km := t.distance(&c.Task)
		if km > Reach {
			return contractnet.Refuse(fmt.Sprintf("%.0f km are too far", km)), nil
		}
		return contractnet.Cost(km * (1 + t.loadAt(c.Task.Time))), nil
	}, func(_ context.Context, j *contractnet.Job[Dispatch]) (Visit, error) {
		if Stuck(seed, t.name, j.Task.Eventid) {
			return Visit{}, &contractnet.FailedError{Reason: "the team is stuck"}
		}
		return Visit{Eventid: j.Task.Eventid, Team: t.name, Km: t.distance(&j.Task)}, nil
	})
	return a
}

func (t team) loadAt(at time.Time) float64 { return t.load[at.UTC().Hour()/6] }

// Stuck is the seeded rule: whether a team that goes to an event does not get there.
// It is so for about 15 of 100 events.
func Stuck(seed uint64, team, event string) bool { return percent(seed, team+"/"+event) < 15 }

// earthRadius is the mean one, in kilometres.
const earthRadius = 6371.0

// distance is that of the great circle, in kilometres (the haversine formula).
func (t team) distance(e *Dispatch) float64 {
	const degree = math.Pi / 180
	lat1, lat2 := t.latitude*degree, e.Latitude*degree
	dLat, dLon := math.Sin((lat2-lat1)/2), math.Sin((e.Longitude-t.longitude)*degree/2)
	h := dLat*dLat + math.Cos(lat1)*math.Cos(lat2)*dLon*dLon
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}
