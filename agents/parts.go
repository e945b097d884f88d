package agents

import (
	"context"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Parts is an answer that a handler sends in parts while it makes them, such as
// the words of a model. Who asks reads them with Stream.
//
// A part is kept as a durable step: a later run of the handler is told what has
// been sent, and goes on behind it. So a reader sees one sequence, whatever crashes.
// Exactly once a part can be read once; at least once a reader may find it again, and
// Stream passes over it.
type Parts[T schemas.Message] struct {
	ctx   context.Context
	out   *outbox
	to    outgoing
	id    string // of the request
	sent  []T
	begun bool                 // the step of the next part
	again []streaming.Outgoing // the parts of earlier runs: each may have ended between storing one and sending it
}

// Answering begins an answer in parts; a handler begins one only. Its parts count
// in Config.StepBytes and MessageStepBytes.
func Answering[T schemas.Message, M any](ctx context.Context, m *Message[M]) (*Parts[T], error) {
	p := &Parts[T]{ctx: ctx, out: m.out, id: m.Envelope.ID, to: m.answer()}
	for {
		value, stored, err := m.out.cause.Steps.Begin(ctx, p.step())
		if err != nil {
			return nil, err
		}
		if !stored {
			p.begun = true
			return p, nil
		}
		var part T
		if err := m.out.link.decode(ctx, value, &part); err != nil {
			return nil, err
		}
		p.sent = append(p.sent, part)
		if !m.out.link.exactlyOnce {
			p.again = append(p.again, p.part(part, value))
		}
	}
}

// step is the name of the next part's step.
func (p *Parts[T]) step() string { return fmt.Sprintf("answer/%d", len(p.sent)+1) }

// part is the last of what was sent.
func (p *Parts[T]) part(part T, value []byte) streaming.Outgoing {
	var out streaming.Outgoing
	p.to.fill(&out, schemas.MessageType(part.Schema()), value, []Option{answerTo(p.id)})
	out.Envelope.Sequence = int64(len(p.sent))
	return out
}

// Sent is what this run and the runs before it have sent.
func (p *Parts[T]) Sent() []T { return p.sent }

// Send sends a part, and returns when it is durable. Errors are those of Step.
func (p *Parts[T]) Send(part T) error {
	if err := p.out.link.outputs.check(AsReply(), part); err != nil {
		return err
	}
	_, value, err := encode(p.ctx, p.out.link.codec, part)
	if err != nil {
		return err
	}
	name := p.step()
	if !p.begun {
		if _, _, err := p.out.cause.Steps.Begin(p.ctx, name); err != nil {
			return err
		}
	}
	p.begun = false
	p.sent = append(p.sent, part)
	parts := append(p.again, p.part(part, value))
	p.again = nil
	return p.out.cause.Steps.Store(p.ctx, name, value, parts...)
}

// End stages the last part: like any output it is sent when the handler has
// succeeded. An answer without it is not complete.
func (p *Parts[T]) End(part T) error {
	for i := range p.again {
		p.out.cause.Outbox.Stage(p.again[i])
	}
	p.again = nil
	sequence := int64(len(p.sent)) + 1
	return p.out.stage(AsReply(), p.to, part, []Option{answerTo(p.id), func(o *streaming.Outgoing) {
		o.Envelope.Sequence, o.Envelope.Last = sequence, true
	}})
}

// isPart reports whether a message is a part of an answer that goes on.
func isPart(env *streaming.Envelope) bool { return env.Sequence > 0 && !env.Last }
