package agents

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// Sender sends messages from outside a handler: the root of a conversation.
// What it sends is durable when the call returns without an error; after an
// error it may or may not be. A message that must have one effect even if it is
// sent again is given its ID by the caller, see ID.
type Sender struct {
	p    *Platform
	name string
	log  *kafka.Log
	sent func(topic string, n int)
}

// Sender returns a sender with that agent name.
func (p *Platform) Sender(name string) (*Sender, error) {
	if err := schemas.ValidName(name); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	cfg := p.kafka
	cfg.NoLinger = true
	log, err := kafka.NewLog(cfg)
	if err != nil {
		return nil, err
	}
	s := &Sender{p: p, name: name, log: log, sent: func(string, int) {}}
	if p.cfg.Metrics != nil {
		s.sent = p.cfg.Metrics.Agent(name).Sent
	}
	return s, nil
}

// Close ends the sender. What was sent before is durable.
func (s *Sender) Close() { s.log.Close() }

// Draft is a message not yet sent.
type Draft struct {
	to      outgoing
	payload schemas.Message
	opts    []Option
}

// ToStream drafts an event for a stream.
func (s *Sender) ToStream(stream string, payload schemas.Message, opts ...Option) Draft {
	return Draft{outgoing{topic: s.p.cfg.Namespace.Events(stream), partition: -1, kind: streaming.KindEvent}, payload, opts}
}

// ToAgent drafts a command for one agent.
func (s *Sender) ToAgent(agent string, payload schemas.Message, opts ...Option) Draft {
	return Draft{outgoing{topic: s.p.cfg.Namespace.Inbox(agent), partition: -1, kind: streaming.KindCommand, to: agent}, payload, opts}
}

// Send sends drafts and waits until all are durable.
func (s *Sender) Send(ctx context.Context, drafts ...Draft) error {
	recs, err := s.Records(ctx, drafts...)
	if err != nil {
		return err
	}
	_, err = s.log.AppendSync(ctx, recs...)
	if errors.Is(err, streaming.ErrUnknownTopic) {
		err = fmt.Errorf("%w; does the agent or stream exist? `parley topics list` shows what does", err)
	}
	if err == nil {
		for _, rec := range recs {
			s.sent(rec.Topic, 1)
		}
	}
	return err
}

// Records completes drafts as records that Forward sends: for a store that keeps
// them until then. ID and time are those of this call.
func (s *Sender) Records(ctx context.Context, drafts ...Draft) ([]*streaming.Record, error) {
	recs := make([]*streaming.Record, len(drafts))
	for i, d := range drafts {
		rec, err := s.record(ctx, d)
		if err != nil {
			return nil, err
		}
		recs[i] = rec
	}
	return recs, nil
}

// Forward sends completed records in order and waits. The errors stand in the
// places of their records: streaming.ErrRecordTooLarge and ErrUnknownTopic are
// the record's fault; after any other it may or may not have been sent.
func (s *Sender) Forward(ctx context.Context, recs ...*streaming.Record) []error {
	errs := s.log.AppendEach(ctx, recs...)
	for i, rec := range recs {
		if errs[i] == nil {
			s.sent(rec.Topic, 1)
		}
	}
	return errs
}

// Stop tells each instance of an agent to end once what came before is settled.
func (s *Sender) Stop(ctx context.Context, agent, reason string) error {
	topic := s.p.cfg.Namespace.Inbox(agent)
	n, err := s.log.PartitionCount(ctx, topic)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("agent %s has no inbox: %w", agent, streaming.ErrUnknownTopic)
	}
	recs := make([]*streaming.Record, n)
	for p := range n {
		rec, err := s.record(ctx, Draft{
			to:      outgoing{topic: topic, partition: p, kind: streaming.KindCommand, to: agent},
			payload: &schemas.AgentStop{Reason: reason},
		})
		if err != nil {
			return err
		}
		recs[p] = rec
	}
	_, err = s.log.AppendSync(ctx, recs...)
	return err
}

// Pause makes all instances of an agent start no handler until Resume: it lasts
// across restarts, and a second after it returns, about, every instance obeys.
// What runs ends; offsets and membership are kept. The group is the agent's
// name, unless its Config names one. by and reason are for people.
func (s *Sender) Pause(ctx context.Context, group, by, reason string) error {
	return s.control(ctx, &schemas.AgentControl{Group: group, Paused: true, Reason: reason, By: by})
}

// Resume ends what Pause began.
func (s *Sender) Resume(ctx context.Context, group, by, reason string) error {
	return s.control(ctx, &schemas.AgentControl{Group: group, Reason: reason, By: by})
}

func (s *Sender) control(ctx context.Context, c *schemas.AgentControl) error {
	if err := s.ensure(ctx, worker.ControlTopic(s.p.cfg.Namespace)); err != nil {
		return err
	}
	rec, err := s.record(ctx, Draft{
		to:      outgoing{topic: s.p.cfg.Namespace.Agents(), partition: -1, kind: streaming.KindStateDiff},
		payload: c,
		opts:    []Option{Key(schemas.ControlKey(c.Group))},
	})
	if err != nil {
		return err
	}
	_, err = s.log.AppendSync(ctx, rec)
	return err
}

// ensure makes sure of a topic, as far as the platform may create one.
func (s *Sender) ensure(ctx context.Context, spec kafka.TopicSpec) error {
	return s.p.ensure(ctx, s.log, spec)
}

func (s *Sender) record(ctx context.Context, d Draft) (*streaming.Record, error) {
	messageType, value, err := encode(ctx, s.p.codec, d.payload)
	if err != nil {
		return nil, err
	}
	var out streaming.Outgoing
	d.to.fill(&out, messageType, value, d.opts)
	env := out.Envelope
	env.Source = s.name
	if env.ID == "" {
		env.ID = schemas.NewID()
	}
	if env.CorrelationID == "" {
		env.CorrelationID = env.ID
	}
	env.Time = time.Now()
	env.Hops = streaming.DefaultHops
	env.TraceParent, env.TraceState = telemetry.Propagate("", "")
	return pipeline.Record(&env, &out), nil
}
