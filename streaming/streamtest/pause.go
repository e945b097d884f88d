package streamtest

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// paused is a time in which an operator kept an agent from starting handlers.
type paused struct {
	agent    int
	from, to time.Time
}

// obeyed is how long instances may take to hear of a pause.
const obeyed = 2 * time.Second

// pause lets an operator pause an agent for a while.
func (m *simulator) pause(a *agent, last time.Duration) {
	m.history.hit(string(FaultPause))
	m.history.note("an operator pauses %s", a.cfg.Agent)
	p := paused{agent: a.number}
	if err := m.control(a, true); err != nil {
		m.history.note("the pause fails: %v", err)
		return
	}
	p.from = time.Now()
	time.Sleep(last)
	p.to = time.Now()
	m.history.note("an operator resumes %s", a.cfg.Agent)
	for m.control(a, false) != nil {
		time.Sleep(time.Second) // else it is paused for good
	}
	m.history.mu.Lock()
	defer m.history.mu.Unlock()
	m.history.pauses = append(m.history.pauses, p)
}

func (m *simulator) control(a *agent, paused bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := &schemas.AgentControl{Group: a.cfg.Group, Paused: paused, By: "simulation"}
	value, err := m.wire.codec.Encode(ctx, c)
	if err != nil {
		return err
	}
	id := schemas.NewID()
	rec := pipeline.Record(&streaming.Envelope{
		ID: id, Source: "operator", Type: typeOf(c), Kind: streaming.KindStateDiff, Time: time.Now(), CorrelationID: id, Hops: streaming.DefaultHops,
	}, &streaming.Outgoing{Topic: a.cfg.Namespace.Agents(), Partition: -1, Key: schemas.ControlKey(a.cfg.Group), Value: value})
	out := &kgo.Record{Topic: rec.Topic, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return m.client.ProduceSync(ctx, out).FirstErr()
}

// deafened reports whether instances may not hear of a pause: what troubles the
// network or the brokers meanwhile, or has shortly before.
func (m *simulator) deafened(p paused) bool {
	from, to := p.from.Sub(m.history.begin), p.to.Sub(m.history.begin)
	for _, t := range m.plan.troubles {
		switch t.fault {
		case FaultPause, FaultRedrive, FaultJoin, FaultLeave, FaultClock:
		case FaultError: // it may be met at any later time
			if t.at < to && slices.Contains([]kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, errorsOf(m.plan.exactlyOnce)[t.kind].key) {
				return true
			}
		default:
			if t.at < to && t.at+t.last+lostFor+obeyed > from {
				return true
			}
		}
	}
	return false
}

// checkPauses: no handler is started while its agent is paused. Where the network
// fails an instance may not hear of it.
func (m *simulator) checkPauses(a *agent, runs []*run) {
	for _, p := range m.history.pauses {
		if p.agent != a.number || m.deafened(p) {
			continue
		}
		until := p.to
		for _, other := range m.history.pauses { // whoever resumes the agent ends all its pauses
			if other.agent == p.agent && other.to.After(p.from) && other.to.Before(until) {
				until = other.to
			}
		}
		for _, r := range runs {
			if r.start.After(p.from.Add(obeyed)) && r.start.Before(until) {
				m.violation("pauses: %s: %s is handled %s after the pause", a.cfg.Agent, r.id, r.start.Sub(p.from))
			}
		}
	}
}
