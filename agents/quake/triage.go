package quake

import (
	"context"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// DispatchFrom is the magnitude from which on an event is dispatched.
const DispatchFrom = 4.5

// How urgent an event is.
const (
	LevelNone      = "none" // not dispatched
	LevelAdvisory  = "advisory"
	LevelWarning   = "warning"
	LevelEmergency = "emergency"
)

// Triage returns the agent that sorts what the stream reports.
func Triage(cfg agents.Config) *agents.Agent {
	cfg.Streams = Streams(TriageAgent)
	a := agents.New(TriageAgent, cfg)
	agents.Produces[Dispatch](a, agents.ToAgent(DispatchAgent))
	agents.On(a, func(_ context.Context, m *agents.Message[Reported]) error {
		s := Sort(&m.Payload)
		if s.Level == LevelNone {
			return nil
		}
		e := &m.Payload
		return m.Send(DispatchAgent, &Dispatch{
			Eventid: e.Eventid, Eventtype: e.Eventtype, Place: e.Place, Time: e.Time, Magnitude: *e.Magnitude,
			Size: s.Size, Depthclass: s.Depth, Tsunami: e.Tsunami, Level: s.Level,
			Longitude: e.Longitude, Latitude: e.Latitude, Depth: e.Depth,
		}, agents.Key(m.Key), agents.Ack(streaming.AckHandled))
	})
	// The ack says that the command has had its effect: nothing is left to do.
	agents.On(a, func(context.Context, *agents.Message[schemas.Ack]) error { return nil })
	return a
}

// Sorted is what triage thinks of an event.
type Sorted struct {
	Size    string // the class of the magnitude
	Depth   string // the class of the depth
	Natural bool   // not made by people
	Level   string // how urgent it is
}

// Sort sorts an event by magnitude, depth, tsunami flag and type. The classes
// are those that seismologists use.
func Sort(e *Reported) Sorted {
	s := Sorted{Size: sizeClass(e.Magnitude), Depth: depthClass(e.Depth), Natural: natural(e.Eventtype), Level: LevelNone}
	if e.Magnitude == nil || *e.Magnitude < DispatchFrom {
		return s
	}
	// Shallow ones shake more, and only what moves a sea floor makes a wave.
	m := *e.Magnitude
	shallow := s.Depth == "shallow" && s.Natural
	switch {
	case m >= 7 || m >= 6 && (shallow || e.Tsunami):
		s.Level = LevelEmergency
	case m >= 6 || m >= 5.5 && shallow || e.Tsunami:
		s.Level = LevelWarning
	default:
		s.Level = LevelAdvisory
	}
	return s
}

func sizeClass(magnitude *float64) string {
	if magnitude == nil {
		return "unknown"
	}
	for _, c := range []struct {
		below float64
		name  string
	}{{3, "micro"}, {4, "minor"}, {5, "light"}, {6, "moderate"}, {7, "strong"}, {8, "major"}} {
		if *magnitude < c.below {
			return c.name
		}
	}
	return "great"
}

func depthClass(depth *float64) string {
	switch {
	case depth == nil:
		return "unknown"
	case *depth < 70:
		return "shallow"
	case *depth < 300:
		return "intermediate"
	}
	return "deep"
}

func natural(eventType string) bool {
	switch eventType {
	case "earthquake", "landslide", "ice quake", "volcanic eruption", "meteorite", "rock slide", "snow avalanche":
		return true
	}
	return false
}
