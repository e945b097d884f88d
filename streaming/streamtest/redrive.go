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
