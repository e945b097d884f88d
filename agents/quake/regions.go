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

// Registrar returns the agent that has each strong event counted on the board once. A
// region has one proposal under way: what it makes of the value that the board has,
// compared with its version. Events that come meanwhile wait in the region's state.
// Where somebody else has changed the region, the answer says what stands there now,
// and the same event is proposed again from there.
func Registrar(cfg agents.Config) *agents.Agent {
	a := agents.New(RegistrarAgent, cfg)
	agents.Produces[schemas.BoardProposal](a, agents.ToAgent(Regions.Agent()))
	tallies := agents.Keep[Tally](a, "tally")

	agents.On(a, func(ctx context.Context, m *agents.Message[Strong]) error {
		t, _, err := tallies.Get(ctx, m)
		if err != nil {
			return err
		}
		t.Waiting = append(t.Waiting, m.Payload)
		if len(t.Waiting) == 1 {
			if err := t.propose(ctx, m); err != nil {
				return err
			}
		}
		return tallies.Set(ctx, m, t)
	})

	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.BoardAnswer]) error {
		t, _, err := tallies.Get(ctx, m)
		if err != nil || len(t.Waiting) == 0 {
			return err
		}
		version, err := Regions.Answer(ctx, m.Platform(), &m.Payload)
		var conflict *board.ConflictError[Region]
		switch {
		case err == nil:
			counted := t.next()
			t.Region, t.Version, t.Waiting = &counted, version, t.Waiting[1:]
		case errors.As(err, &conflict):
			if t.Region, t.Version = nil, conflict.Current; conflict.Exists {
				t.Region = &conflict.Value
			}
		default:
			return err
		}
		if len(t.Waiting) > 0 {
			if err := t.propose(ctx, m); err != nil {
				return err
			}
		}
		return tallies.Set(ctx, m, t)
	})
	return a
}

// propose stages that the board counts the first event that waits.
func (t *Tally) propose(ctx context.Context, m board.Proposer) error {
	expected := board.Absent
	if t.Region != nil {
		expected = t.Version
	}
	return Regions.Propose(ctx, m, m.Delivery().Key, t.next(), expected, agents.Lasting())
}

// next is the region with the first event that waits. Events come in any order: the
// last is the one that happened last.
func (t *Tally) next() Region {
	e := t.Waiting[0]
	r := Region{Strongest: e.Magnitude}
	if t.Region != nil {
		r = *t.Region
	}
	r.Count++
	r.Strongest = max(r.Strongest, e.Magnitude)
	if e.Time.After(r.Time) || e.Time.Equal(r.Time) && e.Eventid > r.Last {
		r.Last, r.Time = e.Eventid, e.Time
	}
	return r
}
