package streamtest

import "time"

const (
	settled = 15 * time.Second       // by then a group that nothing disturbs has shared its partitions out
	latest  = 250 * time.Millisecond // a few round trips of 4 ms, for what settles the message before
)

// checkLateness: where nothing disturbs a cluster, and there is room, a retry
// starts soon after the later of its due time and its key being free.
func (m *simulator) checkLateness(a *agent, runs []*run) {
	if !m.plan.calm() || m.history.hits[handlerKills] > 0 || a.cfg.Limits.Any() || a.cfg.Hold || a.cfg.Parallel > 0 || a.cfg.MaxHeld > 0 {
		return
	}
	type attempt struct {
		id     msgID
		number int
	}
	due, free := make(map[attempt]time.Time), make(map[string]time.Time)
	for _, r := range runs {
		if r.again {
			return // the breaker pauses the agent
		}
		if at, known := due[attempt{r.id, r.attempt}]; known && at.Sub(m.history.begin) > settled {
			from := at
			if before := free[r.key]; r.key != "" && before.After(from) {
				from = before
			}
			if late := r.start.Sub(from); late > latest {
				m.violation("delays: %s: attempt %d of %s is %s late", a.cfg.Agent, r.attempt, r.id, late)
			}
		}
		if r.finished && r.err != nil && !r.dead {
			due[attempt{r.id, r.attempt + 1}] = r.end.Add(r.delay)
		}
		if r.end.After(free[r.key]) {
			free[r.key] = r.end
		}
	}
}
