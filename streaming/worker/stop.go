package worker

import (
	"context"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// stopGrace is how long an instance that was told to stop waits for the stop in
// partitions that have none: their stop may have been obeyed by a former owner.
const stopGrace = 3 * time.Second

// stopHandler handles agent.stop: there is nothing to do but to settle it. The
// lane hands it over only when all before it in its partition is settled.
type stopHandler struct{}

// New implements streaming.Handler.
func (stopHandler) New() any { return new(schemas.AgentStop) }

// Handle implements streaming.Handler.
func (stopHandler) Handle(context.Context, *streaming.Delivery) error { return nil }

func (w *Worker) handlers(in input) map[string]streaming.Handler {
	if !in.inbox {
		return w.cfg.Handlers
	}
	all := map[string]streaming.Handler{schemas.TypeAgentStop: stopHandler{}}
	for t, h := range w.cfg.Handlers {
		all[t] = h
	}
	return all
}

// stopSettled tells that a lane of the inbox has settled agent.stop. The worker
// ends when each owned partition of the inbox has: what came before the stop is
// settled then.
func (w *Worker) stopSettled(o *owned) {
	w.lanes.mu.Lock()
	o.stopped = true
	all := true
	for _, other := range w.lanes.byTP {
		all = all && (!other.in.inbox || other.stopped)
	}
	w.lanes.mu.Unlock()
	if all {
		w.stop()
		return
	}
	time.AfterFunc(stopGrace, w.stopWhenCaughtUp)
}

// stopWhenCaughtUp ends the worker once its other inbox partitions have nothing
// left before the ends they have now.
func (w *Worker) stopWhenCaughtUp() {
	ctx := w.lanes.ctx
	var inbox string
	for topic, in := range w.inputs {
		if in.inbox {
			inbox = topic
		}
	}
	ends, err := w.log.EndOffsets(ctx, inbox)
	for err == nil && ctx.Err() == nil {
		caughtUp := true
		for _, o := range w.lanes.open() {
			if o.in.inbox && o.lane.Positions().Commit[0] < ends[o.tp] {
				caughtUp = false
			}
		}
		if caughtUp {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.cfg.CommitInterval):
		}
	}
	w.stop()
}

func (w *Worker) stop() { w.stopping.Do(func() { close(w.stopped) }) }
