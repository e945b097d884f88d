package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Positions of what the platform itself sends because of a message. A
// handler's outputs count from 0.
const (
	positionDelivered = -1
	positionHandled   = -2
	positionFailed    = -3
)

// PartPosition is the position of a part of a streamed answer: outputs are never
// that many.
func PartPosition(sequence int64) int { return 1<<30 + int(sequence) }

// caused completes a message that m has caused, and returns its record: its ID is derived, so that a
// repeated run sends the same one; conversation, deadline, hop budget, spend
// budget and trace are inherited and never raised.
func (l *Lane) caused(m *message, out *streaming.Outgoing, position int, now time.Time) *streaming.Record {
	if out.Forward {
		return l.forwarded(m, out, now)
	}
	env := &out.Envelope
	env.ID = schemas.DerivedID(m.env.Source, m.env.ID, l.cfg.Group, position)
	env.Source = l.cfg.Agent
	if env.Time.IsZero() { // a message that is sent again keeps the time of the first
		env.Time = now
	}
	if env.CausationID == "" {
		env.CausationID = m.env.ID
	}
	if env.CorrelationID == "" {
		env.CorrelationID = m.env.CorrelationID
	}
	env.Hops = m.env.Hops - 1
	if position == positionFailed {
		env.Hops = max(env.Hops, 1) // a request that was dead for its hops is answered all the same
	}
	if !out.Lasting && !m.env.Expiry.IsZero() && (env.Expiry.IsZero() || env.Expiry.After(m.env.Expiry)) {
		env.Expiry = m.env.Expiry
	}
	env.Budget = streaming.LowerBudget(m.env.Budget, env.Budget)
	env.TraceParent, env.TraceState = l.cfg.Trace(m.env.TraceParent, m.env.TraceState)
	rec := Record(env, out)
	rec.Caused = m.origin().Timestamp
	return rec
}

// written is a record with room for the headers that a message mostly has.
type written struct {
	streaming.Record
	headers [14]streaming.Header
}

// Record is an outgoing message as a record to append.
func Record(env *streaming.Envelope, out *streaming.Outgoing) *streaming.Record {
	key := out.Key
	if key == "" {
		key = env.CorrelationID
	}
	w := &written{Record: streaming.Record{
		Topic:         out.Topic,
		Partition:     out.Partition,
		Timestamp:     env.Time,
		Key:           []byte(key),
		Value:         out.Value,
		Optional:      out.Optional,
		IfTopicExists: out.IfTopicExists,
		Routed:        out.Routed,
	}}
	w.Headers = schemas.AppendEnvelope(w.headers[:0], env)
	return &w.Record
}

// ack is the ack of that mode for m, at the sender's reply path or inbox.
func (l *Lane) ack(ctx context.Context, m *message, mode streaming.AckMode, now time.Time) (*streaming.Record, error) {
	value, err := l.cfg.Codec.Encode(ctx, &schemas.Ack{Messageid: m.env.ID, Source: m.env.Source, Mode: string(mode)})
	if err != nil {
		return nil, fmt.Errorf("encode the ack: %w", err)
	}
	position := positionHandled
	if mode == streaming.AckDelivered {
		position = positionDelivered
	}
	topic, partition := ReplyPath(&m.env, l.cfg.Namespace)
	return l.caused(m, &streaming.Outgoing{
		Envelope:  streaming.Envelope{Type: schemas.TypeAck, Kind: streaming.KindAck, Recipient: m.env.Source},
		Topic:     topic,
		Partition: partition,
		Key:       string(m.rec.Key),
		Value:     value,
		Optional:  true,
	}, position, now), nil
}

// errorReply is the error reply to a request that is dead, or nil where m wants none.
// Nobody waits for one that has expired.
func (l *Lane) errorReply(m *message, reason streaming.Reason, cause error, now time.Time) *streaming.Record {
	if m.bad != nil || m.env.Kind != streaming.KindRequest || reason == streaming.ReasonExpired {
		return nil
	}
	value, err := l.cfg.Codec.Encode(context.WithoutCancel(l.ctx), &schemas.ErrorReply{
		Reason: string(reason), Message: schemas.BoundErrorText(reasonText(cause)),
	})
	if err != nil {
		l.cfg.Logger.Warn("no error reply is sent", "agent", l.cfg.Agent, "id", m.env.ID, "error", err)
		return nil
	}
	topic, partition := ReplyPath(&m.env, l.cfg.Namespace)
	out := &streaming.Outgoing{
		Envelope:  streaming.Envelope{Type: schemas.TypeErrorReply, Kind: streaming.KindError, Recipient: m.env.Source},
		Topic:     topic,
		Partition: partition,
		Key:       string(m.rec.Key),
		Value:     value,
		Lasting:   true,
		Optional:  true,
	}
	return l.caused(m, out, positionFailed, now)
}

// ReplyPath is where an answer to a message goes: its ce_replyto, else the
// inbox of its sender. A partition of -1 is chosen by the key.
func ReplyPath(env *streaming.Envelope, ns streaming.Namespace) (topic string, partition int32) {
	if env.ReplyTo == "" {
		return ns.Inbox(env.Source), -1
	}
	topic, partition, err := schemas.ParseReplyTo(env.ReplyTo)
	if err != nil { // refused on the way in already
		return ns.Inbox(env.Source), -1
	}
	return topic, partition
}
