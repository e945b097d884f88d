package worker

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// DefaultLease is how long what an instance says of itself holds.
const DefaultLease = 15 * time.Second

// farewell bounds how long a worker that ends waits until it is known to have ended.
const farewell = time.Second

// announcing tells in the topic of agents, three times per lease, that this instance
// is there. It is for the directory only: nothing waits for it, and what fails is
// tried again with the next.
type announcing struct {
	w       *Worker
	started time.Time
	sending atomic.Bool // one is on its way: without a broker it is, until one is back
	told    atomic.Bool // one may stand in the topic
	failing bool        // and that was logged
}

func (w *Worker) announce(ctx context.Context, a *announcing) {
	if w.cfg.Lease <= 0 || w.cfg.Contract == nil {
		return
	}
	every := time.NewTicker(w.cfg.Lease / 3)
	defer every.Stop()
	select { // who has no partition stands by
	case <-ctx.Done():
		return
	case <-w.ready:
	case <-every.C:
	}
	for {
		if !a.sending.Load() {
			a.renew(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// renew appends the announcement of now.
func (a *announcing) renew(ctx context.Context) {
	w := a.w
	encoding, cancel := context.WithTimeout(ctx, w.cfg.Lease/3) // the registry may be away
	defer cancel()
	value, err := w.cfg.Codec.Encode(encoding, a.instance())
	if err != nil {
		if ctx.Err() == nil && !a.failing {
			w.cfg.Logger.Warn("the agent is not announced in the directory; it works all the same", "agent", w.cfg.Agent, "group", w.cfg.Group, "error", err)
		}
		a.failing = true
		return
	}
	a.failing = false
	a.sending.Store(true)
	a.told.Store(true)
	w.log.Append(w.instanceRecord(value), func(_ int64, err error) {
		a.sending.Store(false)
		if err != nil && ctx.Err() == nil {
			w.cfg.Logger.Debug("the agent is not announced in the directory; tried again", "agent", w.cfg.Agent, "group", w.cfg.Group, "error", err)
		}
	})
}

// leave takes the announcement back. Without a broker the client would try for ever.
func (a *announcing) leave() {
	if !a.told.Load() {
		return
	}
	ended := make(chan error, 1)
	a.w.log.Append(a.w.instanceRecord(nil), func(_ int64, err error) { ended <- err })
	bound := time.NewTimer(farewell)
	defer bound.Stop()
	var err error
	select {
	case err = <-ended:
	case <-bound.C:
		err = context.DeadlineExceeded
	}
	if err != nil {
		a.w.cfg.Logger.Debug("the agent's end is not announced; its lease runs out", "agent", a.w.cfg.Agent, "group", a.w.cfg.Group, "error", err)
	}
}

func (w *Worker) instanceRecord(value []byte) *streaming.Record {
	id := schemas.NewID()
	return pipeline.Record(&streaming.Envelope{
		ID: id, Source: w.cfg.Agent, Type: schemas.TypeAgentInstance, Kind: streaming.KindStateDiff,
		Time: w.cfg.Clock.Now(), CorrelationID: id, Hops: streaming.DefaultHops,
	}, &streaming.Outgoing{Topic: w.cfg.Namespace.Agents(), Partition: -1, Key: schemas.InstanceKey(w.cfg.Group, w.cfg.Instance), Value: value})
}

// instance is what there is to be said now.
func (a *announcing) instance() *schemas.AgentInstance {
	w, c := a.w, a.w.cfg.Contract
	ports := func(all []schemas.ContractPort) []schemas.InstancePort {
		out := make([]schemas.InstancePort, len(all))
		for i, p := range all {
			out[i] = schemas.InstancePort{Type: p.Type, At: p.At}
		}
		return out
	}
	i := &schemas.AgentInstance{
		Agent: w.cfg.Agent, Group: w.cfg.Group, Instance: w.cfg.Instance, Version: w.cfg.Version, Undeclared: c.Undeclared,
		Consumes: ports(c.Consumes), Produces: ports(c.Produces),
		Started: a.started, Until: w.cfg.Clock.Now().Add(w.cfg.Lease),
	}
	for _, o := range w.lanes.open() {
		at := o.lane.Positions()
		i.Unsettled += int64(at.Pending)
		i.Running += int64(at.Running)
	}
	owned := make(map[string][]int32)
	for _, tp := range w.lanes.owned() {
		owned[tp.Topic] = append(owned[tp.Topic], tp.Partition)
	}
	for topic, partitions := range owned {
		slices.Sort(partitions)
		i.Owned = append(i.Owned, schemas.OwnedPartitions{Topic: topic, Partitions: partitions})
	}
	slices.SortFunc(i.Owned, func(a, b schemas.OwnedPartitions) int { return cmp.Compare(a.Topic, b.Topic) })
	return i
}
