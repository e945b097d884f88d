package contractnet

import (
	"context"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Replayed is a negotiation as the log says that it went.
type Replayed struct {
	ID string
	// Negotiation is how it stands at the end of the records, or its conclusion.
	Negotiation Negotiation
	Awards      []Awarded // in order
	Ignored     []Ignored // in order
}

// Awarded is an award of a negotiation.
type Awarded struct {
	Agent string
	Cost  float64
	ID    string // of the Award
}

// Ignored is a message that had no part in a negotiation.
type Ignored struct {
	Agent string // its sender
	ID    string
	Why   Why
}

// Replay decides all negotiations of the manager again, from the records of its
// agent's inbox alone, as a read_committed reader sees them and in the order of each
// partition. It is what the manager has done, if all records are there from the opening
// on: none was trimmed. Records of the inbox's dead-letter topic, if they are among
// them, say which messages had no effect; without them all had. The manager's agent
// does not need to run. group is the agent's, by default its name.
//
// What was redriven from the dead-letter topic cannot be told from what was not.
func (g *Manager[Task, Result]) Replay(ctx context.Context, codec *schemas.Codec, ns streaming.Namespace, group string, records []streaming.Record) ([]*Replayed, error) {
	r := &replay{manager: &g.manager, referee: referee{agent: g.agent.Name(), group: group}, seen: make(map[messageID]bool), open: make(map[string]*replayed)}
	inbox := ns.Inbox(g.agent.Name())
	for i := range records {
		if rec := &records[i]; rec.Topic == streaming.DeadLetterTopic(inbox, group) {
			if env, err := schemas.DecodeEnvelope(rec); err == nil {
				r.seen[messageID{env.Source, env.ID}] = true
			}
		}
	}
	for i := range records {
		if rec := &records[i]; rec.Topic == inbox {
			if err := r.take(ctx, codec, rec); err != nil {
				return nil, err
			}
		}
	}
	return r.all, nil
}

type replay struct {
	*manager
	referee
	seen map[messageID]bool // or without effect
	all  []*Replayed
	open map[string]*replayed // by ID
}

type messageID struct{ source, id string }

type replayed struct {
	*Replayed
	now *Negotiation
}

// payloads are the types of what is decided.
var payloads = map[string]func() schemas.Message{
	typeOf[Opening]():            func() schemas.Message { return new(Opening) },
	typeOf[Proposal]():           func() schemas.Message { return new(Proposal) },
	typeOf[Report]():             func() schemas.Message { return new(Report) },
	typeOf[Deadline]():           func() schemas.Message { return new(Deadline) },
	typeOf[schemas.ErrorReply](): func() schemas.Message { return new(schemas.ErrorReply) },
}

func typeOf[T schemas.Message]() string {
	var zero T
	return schemas.MessageType(zero.Schema())
}

func (r *replay) take(ctx context.Context, codec *schemas.Codec, rec *streaming.Record) error {
	env, err := schemas.DecodeEnvelope(rec)
	of := payloads[env.Type]
	if err != nil || of == nil || len(rec.Key) == 0 || r.seen[messageID{env.Source, env.ID}] {
		return nil
	}
	r.seen[messageID{env.Source, env.ID}] = true
	payload := of()
	if err := codec.Decode(ctx, rec.Value, payload, env.Type); err != nil {
		if _, bad := schemas.ErrorReason(err); bad {
			return nil // a dead letter
		}
		return err
	}
	id := string(rec.Key)
	n := r.open[id]
	var before *Negotiation
	if n != nil {
		before = n.now
	}
	switch p := payload.(type) {
	case *schemas.ErrorReply:
		if before == nil || standing(before, env.Source) == nil {
			return nil
		}
	case *Deadline:
		if !p.Due && env.Source == r.referee.agent {
			return nil
		}
	}
	if name := nameOf(payload); name != "" && name != r.name {
		return nil
	}
	e, err := r.event(ctx, codec, &env, payload)
	if err != nil {
		return err
	}
	d := r.decide(before, e)
	if before == nil && d.next != nil {
		n = &replayed{Replayed: &Replayed{ID: id}}
		r.open[id] = n
		r.all = append(r.all, n.Replayed)
	}
	if n != nil {
		n.note(d, e)
	}
	return nil
}

func (n *replayed) note(d decision, e *event) {
	n.now = d.next
	switch {
	case d.over != nil:
		n.Negotiation = *d.over
	case d.next != nil && !concluded(d.next):
		n.Negotiation = *d.next
	}
	for _, s := range d.send {
		if a, ok := s.payload.(*Award); ok {
			n.Awards = append(n.Awards, Awarded{s.to, a.Cost, d.next.Award})
		}
	}
	if d.ignored != "" {
		n.Ignored = append(n.Ignored, Ignored{e.source, e.id, d.ignored})
	}
}

// nameOf is the name of the negotiation that a message says.
func nameOf(payload schemas.Message) string {
	switch p := payload.(type) {
	case *Opening:
		return p.Name
	case *Proposal:
		return p.Name
	case *Report:
		return p.Name
	case *Deadline:
		return p.Name
	}
	return ""
}
