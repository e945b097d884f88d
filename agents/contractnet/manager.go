package contractnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Config says how a manager negotiates. The zero value works.
type Config struct {
	Bids     time.Duration // how long bids are taken; default 10 s
	Work     time.Duration // how long a winner may take before it is replaced; default 1 min
	Remember time.Duration // how long a concluded negotiation is known: what comes late is answered; default 1 h
}

// Manager negotiates tasks in an agent's name.
type Manager[Task, Result schemas.Message] struct {
	manager
	done func(context.Context, *Concluded[Task, Result]) error
}

// manager is what does not depend on task and result.
type manager struct {
	agent    *agents.Agent
	name     string
	cfg      Config
	state    *agents.State[Negotiation]
	readable func(ctx context.Context, codec *schemas.Codec, result []byte) error
	conclude func(ctx context.Context, m *agents.Message[Negotiation]) error
}

// Manage has an agent negotiate tasks under a name, which its bidders share (see
// Bid). done is called for each negotiation when it is concluded, with the result or
// an error that says why there is none, as the handler of a message of its own: what
// it sends goes out once, and if it fails it is retried, and the award stands.
//
// The agent keeps state, and has a handler for schemas.ErrorReply: those of its own
// requests, other than by package agents, are ignored.
func Manage[Task, Result schemas.Message](a *agents.Agent, name string, cfg Config, done func(ctx context.Context, c *Concluded[Task, Result]) error) *Manager[Task, Result] {
	g := &Manager[Task, Result]{manager: manager{agent: a, name: name, cfg: cfg.withDefaults()}, done: done}
	g.readable = func(ctx context.Context, codec *schemas.Codec, result []byte) error {
		var into Result
		return codec.Decode(ctx, result, &into, "")
	}
	g.conclude = g.concluded
	if err := cfg.validate(name); err != nil {
		a.Invalid(fmt.Errorf("agent %s: negotiation %s: %w", a.Name(), name, err))
		return g
	}
	managers := agents.Attached(a, func() managers { return handleAsManager(a) })
	if managers[name] != nil {
		a.Invalid(fmt.Errorf("agent %s manages two negotiations named %s", a.Name(), name))
		return g
	}
	managers[name] = &g.manager
	g.state = agents.Keep[Negotiation](a, "negotiation-"+name)
	return g
}

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		value *time.Duration
		byDef time.Duration
	}{{&c.Bids, 10 * time.Second}, {&c.Work, time.Minute}, {&c.Remember, time.Hour}} {
		if *f.value == 0 {
			*f.value = f.byDef
		}
	}
	return c
}

func (c Config) validate(name string) error {
	if err := validName(name); err != nil {
		return err
	}
	if min(c.Bids, c.Work, c.Remember) < 0 {
		return errors.New("a time is negative; 0 means its default")
	}
	return nil
}

// validName: with what stands before it, it is the name of a state.
func validName(name string) error { return schemas.ValidName("negotiation-" + name) }

// managers are those of an agent, by name.
type managers map[string]*manager

// handleAsManager registers the handlers that all managers of an agent share.
func handleAsManager(a *agents.Agent) managers {
	all := make(managers)
	agents.On(a, func(ctx context.Context, m *agents.Message[Opening]) error {
		return all.handle(ctx, a, m, m.Payload.Name, &m.Payload)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Proposal]) error {
		return all.handle(ctx, a, m, m.Payload.Name, &m.Payload)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Report]) error {
		return all.handle(ctx, a, m, m.Payload.Name, &m.Payload)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Deadline]) error {
		if p := m.Payload; !p.Due && m.Envelope.Source == a.Name() {
			p.Due = true
			return m.Send(a.Name(), &p, agents.Key(m.Key), agents.Lasting())
		}
		return all.handle(ctx, a, m, m.Payload.Name, &m.Payload)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.ErrorReply]) error {
		name, err := all.find(ctx, m)
		if err != nil {
			return err
		}
		return all.handle(ctx, a, m, name, &m.Payload)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Negotiation]) error {
		switch g := all[m.Payload.Name]; {
		case m.Envelope.Source != a.Name():
			count(a, m, func(n negotiations) { n.Ignored(string(WhyForeign)) })
			return nil
		case g == nil:
			return agents.DeadLetter(streaming.ReasonNoHandler, fmt.Errorf("agent %s manages no negotiation named %s any more", a.Name(), m.Payload.Name))
		default:
			return g.conclude(ctx, m)
		}
	})
	return all
}

// find returns the name of the negotiation that an error reply belongs to: one of its
// key in which its sender was asked.
func (all managers) find(ctx context.Context, m *agents.Message[schemas.ErrorReply]) (string, error) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n, ok, err := all[name].state.Get(ctx, m)
		if err != nil {
			return "", err
		}
		if ok && standing(&n, m.Envelope.Source) != nil {
			return name, nil
		}
	}
	return "", nil
}

// Message is what an agent handles: a *agents.Message of any type.
type Message interface {
	agents.Handled
	Send(agent string, payload schemas.Message, opts ...agents.Option) error
}

func (all managers) handle(ctx context.Context, a *agents.Agent, m Message, name string, payload schemas.Message) error {
	if g := all[name]; g != nil {
		return g.handle(ctx, m, payload)
	}
	count(a, m, func(n negotiations) { n.Ignored(string(WhyUnknown)) })
	return nil
}

func (g *manager) referee(m Message) *referee {
	return &referee{agent: g.agent.Name(), group: m.Delivery().Claim.Group, remember: g.cfg.Remember}
}

// handle has a message decided, and does what follows.
func (g *manager) handle(ctx context.Context, m Message, payload schemas.Message) error {
	var before *Negotiation
	n, ok, err := g.state.Get(ctx, m)
	if err != nil {
		return err
	}
	if ok {
		before = &n
	}
	e, err := g.event(ctx, g.agent.Platform().Codec(), m.Delivery().Envelope, payload)
	if err != nil {
		return agents.Unavailable(err)
	}
	d := g.referee(m).decide(before, e)
	for _, s := range d.send {
		if err := m.Send(s.to, s.payload, s.options(m.Delivery())...); err != nil {
			return err
		}
	}
	count(g.agent, m, d.count)
	switch {
	case d.next != nil:
		return g.state.Set(ctx, m, *d.next)
	case before != nil:
		return g.state.Forget(m)
	}
	return nil
}

// event is a message as it is decided. The error is one of the registry.
func (g *manager) event(ctx context.Context, codec *schemas.Codec, env *streaming.Envelope, payload schemas.Message) (*event, error) {
	e := &event{source: env.Source, id: env.ID, cause: env.CausationID, at: env.Time, payload: payload}
	if p, ok := payload.(*Report); ok && !p.Failed {
		err := g.readable(ctx, codec, p.Result)
		if _, bad := schemas.ErrorReason(err); err != nil && !bad {
			return nil, err
		}
		e.unreadable = err
	}
	return e, nil
}

func (s sent) options(d *streaming.Delivery) []agents.Option {
	opts := []agents.Option{agents.Key(d.Key), agents.Lasting()}
	if s.request {
		opts = append(opts, agents.Kind(streaming.KindRequest), answerHere(d.Claim))
	}
	if s.optional {
		opts = append(opts, optional)
	}
	if s.after > 0 {
		opts = append(opts, agents.DeliverAt(time.Now().Add(s.after)))
	}
	return opts
}

// answerHere: to the partition that has the negotiation's state, whichever one the
// client of who answers would choose by the key.
func answerHere(c streaming.Claim) agents.Option {
	return func(o *streaming.Outgoing) { o.Envelope.ReplyTo = fmt.Sprintf("%s/%d", c.Topic, c.Partition) }
}

// optional: what has no inbox gets nothing.
func optional(o *streaming.Outgoing) { o.Optional = true }

// negotiations counts.
type negotiations interface {
	Concluded(outcome string, took time.Duration)
	Again(how string)
	Ignored(why string)
}

// count tells the metrics once the message is done for good.
func count(a *agents.Agent, m agents.Handled, tell func(negotiations)) {
	if metrics := a.Platform().Metrics(); metrics != nil {
		m.Delivery().Settled = func() { tell(metrics.Negotiations(a.Name())) }
	}
}

func (d *decision) count(n negotiations) {
	if d.ignored != "" {
		n.Ignored(string(d.ignored))
	}
	if d.again != "" {
		n.Again(d.again)
	}
	if d.over != nil {
		n.Concluded(d.over.Phase, time.Since(d.over.Opened))
	}
}
