package streamtest

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// redrive gives an agent its dead letters back, while it works. The run is
// killed between two of its requests, at times, and started again.
func (m *simulator) redrive(a *agent, at time.Duration) {
	m.history.hit(string(FaultRedrive))
	m.history.note("redrive of %s", a.cfg.Agent)
	a.mu.Lock()
	a.redriven = true
	a.mu.Unlock()
	r := rand.New(rand.NewPCG(m.seed, uint64(at)))
	for try := range 20 {
		killed := try < 3 && r.IntN(2) == 0
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if killed {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(5000))*time.Microsecond)
		}
		drive := &retry.Redrive{Log: m.log, Codec: m.wire.codec, Group: a.cfg.Group, Inputs: a.inputs(), By: "simulation"}
		plan, err := drive.Plan(ctx)
		if err == nil {
			err = drive.Run(ctx, plan)
		}
		cancel()
		if err == nil {
			return
		}
		m.history.note("redrive of %s ends: %v", a.cfg.Agent, err)
		if killed {
			m.history.hit(redriveKilled)
		}
		time.Sleep(time.Second)
	}
}

const redriveKilled = "redrive killed"

// letGo discards the dead letters of agents that hold keys, so that all can
// settle.
func (m *simulator) letGo(ctx context.Context) {
	for _, a := range m.agents {
		if !a.cfg.Hold {
			continue
		}
		m.history.note("the dead letters of %s are let go", a.cfg.Agent)
		drop := &retry.Redrive{Log: m.log, Codec: m.wire.codec, Group: a.cfg.Group, Inputs: a.inputs(), By: "simulation", Discard: true}
		plan, err := drop.Plan(ctx)
		if err == nil {
			err = drop.Run(ctx, plan)
		}
		if err != nil {
			m.history.note("they are not: %v", err)
		}
	}
}

// checkHolds: while a dead letter of a key is neither redriven nor let go, none
// of the key that came later starts.
func (m *simulator) checkHolds(a *agent, runs []*run, input map[keyed]place) {
	if a.takeover || !a.cfg.Hold {
		return
	}
	dead := make(map[string]*run) // by key: its oldest that has died
	for _, r := range runs {
		if r.key == "" || !m.history.letGo.IsZero() && r.start.After(m.history.letGo) {
			continue
		}
		at := input[keyed{r.id, r.key}]
		lane := r.key + "/" + at.topic
		holder := dead[lane]
		switch {
		case holder != nil && holder.id == r.id:
			delete(dead, lane) // it was redriven
			holder = nil
		case holder != nil && at.offset > input[keyed{holder.id, holder.key}].offset:
			m.violation("holds: %s: key %s: %s is handled, though %s is dead", a.cfg.Agent, r.key, r.id, holder.id)
		}
		if r.finished && r.dead && r.due.IsZero() && (holder == nil || at.offset < input[keyed{holder.id, holder.key}].offset) {
			dead[lane] = r
		}
	}
}
