package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/audit"
)

func (d *demo) backlogs(ctx context.Context) ([]audit.Backlog, error) {
	auditors := make([]*audit.Auditor, len(d.agents))
	for i, a := range d.agents {
		auditors[i] = a.auditor
	}
	return audit.Backlogs(ctx, auditors...)
}

// rests says whether an agent with that backlog has nothing to do now: all that is left
// is scheduled for later, as the deadlines of negotiations and questions are.
func (a *demoAgent) rests(ctx context.Context, b audit.Backlog) (bool, error) {
	if b.Input > 0 || b.Retry == 0 {
		return b.Empty(), nil
	}
	r, err := a.auditor.Read(ctx, nil)
	if err != nil {
		return false, err
	}
	return r.Retrying == r.Scheduled, nil
}

// waitQuiet waits until nothing is left to do: until every group has passed all of its
// input topics, and only what is scheduled for later is left in its retry topics, twice
// in a row and with nothing changed between. It asks the topics and not the workers, so it
// also knows of workers elsewhere.
func (d *demo) waitQuiet(ctx context.Context) error {
	var before []audit.Backlog // as it was when all rested
	for {
		backlogs, err := d.backlogs(ctx)
		if err != nil {
			return err
		}
		if before != nil && same(before, backlogs) {
			return nil
		}
		before = nil
		input, retrying := int64(0), 0
		var left []string
		for i, b := range backlogs {
			if input += b.Input; b.Input > 0 {
				left = append(left, fmt.Sprintf("%s %d", d.agents[i].agent.Name(), b.Input))
			}
		}
		for i, b := range backlogs {
			if input > 0 {
				break
			}
			rests, err := d.agents[i].rests(ctx, b)
			if err != nil {
				return err
			}
			if !rests {
				retrying++
				left = append(left, d.agents[i].agent.Name())
			}
		}
		switch {
		case input > 0:
			d.progress.phase(phaseHandling, "left for "+strings.Join(left, ", "))
		case retrying > 0:
			d.progress.phase(phaseRetrying, "what "+strings.Join(left, ", ")+" will try again")
		default:
			before = backlogs
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookPause):
		}
	}
}

func same(a, b []audit.Backlog) bool {
	for i := range a {
		if !maps.Equal(a[i].ByTopic, b[i].ByTopic) {
			return false
		}
	}
	return true
}
