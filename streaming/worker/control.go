package worker

import (
	"context"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// ControlTopic is the topic of agents as a worker needs it.
func ControlTopic(ns streaming.Namespace) kafka.TopicSpec {
	return kafka.TopicSpec{Name: ns.Agents(), Partitions: 1, Compacted: true, Churns: true}
}

// controlRetry is how long a control record waits while the registry is down.
const controlRetry = time.Second

// followControl obeys what operators want of the group. No handler is started
// before what they have said so far has been read.
func (w *Worker) followControl(ctx context.Context) error {
	var publishing sync.WaitGroup
	defer publishing.Wait()
	return w.log.Tail(ctx, w.cfg.Namespace.Agents(), func(rec streaming.Record) { w.told(ctx, &rec) }, func() {
		w.controlling.Lock()
		w.controlled = true
		w.obey()
		w.controlling.Unlock()
		standing := w.standing
		publishing.Go(func() { w.publishContract(ctx, standing) }) // which must not hold up a pause
	})
}

// told takes in one record of the topic of agents. What is not about control
// or this group's contract is for others, or of a later version.
func (w *Worker) told(ctx context.Context, rec *streaming.Record) {
	if w.cfg.Agents != nil {
		w.cfg.Agents(rec)
	}
	if string(rec.Key) == schemas.ContractKey(w.cfg.Group) {
		w.standing = rec.Value
		return
	}
	w.control(ctx, rec)
}

// control obeys one record about control. One that cannot be read is
// skipped, and what was wanted before stays: a mistake of its writer must
// neither stop an agent nor start it.
func (w *Worker) control(ctx context.Context, rec *streaming.Record) {
	c, ok, err := schemas.ParseControl(ctx, w.cfg.Codec, rec)
	if !ok || c.Group != w.cfg.Group {
		return
	}
	for err != nil {
		if _, unreadable := schemas.ErrorReason(err); unreadable {
			w.cfg.Logger.Warn("a control record cannot be read and is skipped", "agent", w.cfg.Agent, "topic", rec.Topic,
				"partition", rec.Partition, "offset", rec.Offset, "error", err)
			w.cfg.ObserveAgent.ControlSkipped()
			return
		}
		w.cfg.Logger.Warn("a control record cannot be read yet; tried on", "agent", w.cfg.Agent, "topic", rec.Topic,
			"partition", rec.Partition, "offset", rec.Offset, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(controlRetry):
		}
		c, _, err = schemas.ParseControl(ctx, w.cfg.Codec, rec)
	}
	w.controlling.Lock()
	defer w.controlling.Unlock()
	w.wanted = c
	w.obey()
}

// obey does what the last control record says, once all that has to be read before the
// first handler has been. controlling is held.
func (w *Worker) obey() {
	if !w.controlled || w.unread > 0 {
		return
	}
	paused := w.wanted.Paused
	if paused != w.paused {
		what := "resumed by an operator"
		if paused {
			what = "paused by an operator: no handler is started"
		}
		w.cfg.Logger.Warn(what, "agent", w.cfg.Agent, "group", w.cfg.Group, "by", w.wanted.By, "reason", w.wanted.Reason, "since", w.wanted.Since)
	}
	w.paused = paused
	w.cfg.ObserveAgent.Paused(paused)
	if paused {
		w.gate.Close()
		return
	}
	w.gate.Open()
	w.lanes.wake()
}
