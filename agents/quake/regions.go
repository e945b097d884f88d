package quake

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// Regions is the board that says of each region what has happened there.
var Regions = board.New[Region]("regions")

// RegionOf names the region of a place: the south-west corner of its square of 10
// degrees, latitude and longitude as in ISO 6709.
func RegionOf(latitude, longitude float64) string {
	return fmt.Sprintf("%+03.0f%+04.0f", 10*math.Floor(latitude/10), 10*math.Floor(longitude/10))
}

// Registrar returns the agent that has each strong event counted on the board once. It
// alone counts, so it remembers the tally of each region, and proposes what the tally
// has become, compared with the version that the board has by then. Where somebody else
// has changed the region, the answer says so, and the tally is proposed again from there:
// no event is lost or counted twice, whoever writes there.
func Registrar(cfg agents.Config) *agents.Agent {
	a := agents.New(RegistrarAgent, cfg)
	agents.Produces[schemas.BoardProposal](a, agents.ToAgent(Regions.Agent()))
	tallies := agents.Keep[Tally](a, "tally")
	propose := func(ctx context.Context, m board.Proposer, t Tally) error {
		if err := Regions.Propose(ctx, m, m.Delivery().Key, t.Region, t.Version, agents.Lasting()); err != nil {
			return err
		}
		t.Version++ // the proposals before it are judged before it
		return tallies.Set(ctx, m, t)
	}

	agents.On(a, func(ctx context.Context, m *agents.Message[Strong]) error {
		t, _, err := tallies.Get(ctx, m)
		if err != nil {
			return err
		}
		t.Region.count(&m.Payload)
		return propose(ctx, m, t)
	})

	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.BoardAnswer]) error {
		_, err := Regions.Answer(ctx, m.Platform(), &m.Payload)
		var conflict *board.ConflictError[Region]
		if !errors.As(err, &conflict) {
			return err
		}
		t, _, err := tallies.Get(ctx, m)
		if err != nil {
			return err
		}
		if t.Version = conflict.Current; conflict.Exists && conflict.Value == t.Region {
			return tallies.Set(ctx, m, t) // a later proposal has brought it there
		}
		return propose(ctx, m, t)
	})
	return a
}

// count counts an event. Events come in any order: the last is the one that happened
// last.
func (r *Region) count(e *Strong) {
	if r.Count == 0 || e.Magnitude > r.Strongest {
		r.Strongest = e.Magnitude
	}
	r.Count++
	if e.Time.After(r.Time) || e.Time.Equal(r.Time) && e.Eventid > r.Last {
		r.Last, r.Time = e.Eventid, e.Time
	}
}
