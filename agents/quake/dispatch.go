package quake

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Patience is how long dispatch waits for the analyst, for bids and for a team. It is
// long, so that a run that was killed and goes on later is still in time.
const Patience = 10 * time.Minute

// Dispatcher returns the agent that deals with each strong event once: it asks the
// analyst, has the field teams negotiate who goes, and raises the alert. All messages
// of an event have its ID as key, so they are handled one after the other. An event
// that the network describes anew is not dealt with again.
//
// Its acks are sent by the platform, as the command asks for one.
func Dispatcher(cfg agents.Config) *agents.Agent {
	a := agents.New(DispatchAgent, cfg)
	agents.Routes(a)
	agents.Produces[Assess](a, agents.ToAgent(AnalystAgent))
	agents.Produces[Alert](a, agents.ToAgent(NotifyAgent), agents.ToAgent(CoastguardAgent), agents.ToStream(WarningStream))
	agents.Produces[Strong](a, agents.ToAgent(RegistrarAgent))

	known := agents.Keep[Dispatch](a, "known")
	visits := contractnet.Manage(a, VisitTask, contractnet.Config{Bids: Patience, Work: Patience, Remember: Patience}, conclude)
	assessed := agents.OnAnswer(a, "assess", func(ctx context.Context, m *agents.Answered[Assessment, Dispatch]) error {
		task := m.Payload
		if answer, err := m.Answer(); err == nil { // without one people are told all the same
			task.Assessment = answer.Text
		}
		_, err := visits.Call(ctx, m, task, TeamNames(), contractnet.ID(task.Eventid))
		return err
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Dispatch]) error {
		if _, again, err := known.Get(ctx, m); again || err != nil {
			return err
		}
		c := m.Payload
		if err := known.Set(ctx, m, c); err != nil {
			return err
		}
		question := &Assess{Eventid: c.Eventid, Eventtype: c.Eventtype, Place: c.Place, Magnitude: c.Magnitude, Depth: c.Depth, Tsunami: c.Tsunami}
		return assessed.Ask(ctx, m, AnalystAgent, question, c, agents.Expires(time.Now().Add(Patience)))
	})
	return a
}

// conclude raises the alert, wherever the routes say, and has the event counted.
func conclude(_ context.Context, c *contractnet.Concluded[Dispatch, Visit]) error {
	e := &c.Task
	alert := &Alert{
		Eventid: e.Eventid, Level: e.Level, Magnitude: e.Magnitude, Tsunami: e.Tsunami, Team: c.Winner, Text: alertText(e) + ". " + e.Assessment,
	}
	if c.Err != nil { // nobody has bid, or all who have failed: people are told all the same
		alert.Text += " No team can go."
	} else {
		alert.Text += fmt.Sprintf(" %s is on its way, %.0f km.", c.Winner, c.Result.Km)
	}
	if err := c.Route(alert, agents.Kind(streaming.KindIntent), agents.Key(e.Eventid)); err != nil {
		return err
	}
	return c.Send(RegistrarAgent, &Strong{Eventid: e.Eventid, Magnitude: e.Magnitude, Time: e.Time}, agents.Key(RegionOf(e.Latitude, e.Longitude)))
}

func alertText(c *Dispatch) string {
	text := fmt.Sprintf("%s %s, magnitude %.1f, %s, %s", c.Size, c.Eventtype, c.Magnitude, c.Depthclass, c.Place)
	if c.Tsunami {
		text += "; a tsunami is possible"
	}
	return text
}
