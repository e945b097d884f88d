package agents

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Question is what an agent asks others from its handlers, see OnAnswer.
type Question[Rep, S schemas.Message] struct {
	name string
	link *link
}

// OnAnswer declares a question of an agent and how it goes on with the answers. A
// handler asks with Ask or AskAll, saves what it has to remember, and ends; handle
// goes on when the answers have come, or at the deadline: later perhaps, after
// restarts, on another instance. What was asked and saved stands in Kafka, in the
// agent's keyed state (see State) at its inbox.
//
// handle succeeds once for each Ask, whatever comes: answers, error replies, none in
// time. If it fails, it is retried like any handler with the message that made it
// run; a dead letter of an answer can be redriven until the deadline, at which handle
// runs for what is there then. Answers past that go to nobody, and are counted.
//
// handle runs in order with the agent's messages of the same key at its inbox, if
// who answers keeps the request's key, as Message.Reply does.
//
// The name is part of what is stored: an agent that has it no longer dead-letters
// the answers.
func OnAnswer[Rep, S schemas.Message](a *Agent, name string, handle func(ctx context.Context, m *Answered[Rep, S]) error) *Question[Rep, S] {
	q := &Question[Rep, S]{name: name, link: a.link}
	messageType, schema, err := described[Rep]()
	if err == nil {
		_, _, err = described[S]()
	}
	if err == nil {
		err = schemas.ValidName(name)
	}
	if err == nil && a.questions[name] != nil {
		err = fmt.Errorf("there are two of that name")
	}
	if err != nil {
		a.errs = append(a.errs, fmt.Errorf("agent %s: question %s: %w", a.name, name, err))
		return q
	}
	if a.questions == nil {
		a.questions, a.answers = make(map[string]question), make(map[string]streaming.Handler)
	}
	a.questions[name] = resumed[Rep, S]{link: a.link, handle: handle}
	a.answers[messageType] = erased[Rep]{link: a.link}
	if a.consumes[messageType] == nil {
		a.consumes[messageType] = schema
	}
	return q
}

// Answered is a message whose handler has asked, with the answers: handling goes on.
// ID, Key, Envelope and Reply are those of the message; its Payload is what Ask has
// saved. What is sent keeps the message's deadline, not that of the question.
type Answered[Rep, S schemas.Message] struct {
	*Message[S]
	// Answers are those that came, in that order, then the agents that have not
	// answered, with a *NoReplyError.
	Answers []Answer[Rep]
}

// Answer is the first answer without an error. Where there is none the error joins
// all: *RequestError of an agent that could not, *NoReplyError of one that did not
// answer in time.
func (m *Answered[Rep, S]) Answer() (Rep, error) {
	var none Rep
	var errs []error
	for _, a := range m.Answers {
		if a.Err == nil {
			return a.Reply, nil
		}
		errs = append(errs, a.Err)
	}
	return none, errors.Join(errs...)
}

// Ask stages a request to an agent, and saves a state until its answer comes. Of
// the options Expires sets the deadline: DefaultRequestTimeout, if there is none, and
// at most that of m, unless Lasting is another. The request has m's key, if no option says otherwise.
func (q *Question[Rep, S]) Ask(ctx context.Context, m Handled, agent string, req schemas.Message, state S, opts ...Option) error {
	return q.AskAll(ctx, m, []string{agent}, 1, req, state, opts...)
}

// AskAll stages the same request to several agents. Handling goes on when enough of
// them have answered without an error, when all have answered, or at the deadline.
// A request that can never be sent, as the agent has no inbox, is not answered.
func (q *Question[Rep, S]) AskAll(ctx context.Context, m Handled, agents []string, enough int, req schemas.Message, state S, opts ...Option) error {
	if enough < 1 || enough > len(agents) {
		return Permanent(fmt.Errorf("question %s: %d answers of %d agents are wanted", q.name, enough, len(agents)))
	}
	d := m.Delivery()
	asker, key := d.Envelope, d.Key
	if r, ok := m.(interface {
		resumedFrom() (*streaming.Envelope, string)
	}); ok {
		asker, key = r.resumedFrom()
	}
	messageType, value, err := encode(ctx, q.link.codec, req)
	if err != nil {
		return err
	}
	draft := outgoing{partition: -1, kind: streaming.KindRequest, key: key}
	var wanted streaming.Outgoing
	draft.fill(&wanted, messageType, value, opts)
	for _, agent := range agents {
		if err := schemas.ValidName(agent); err != nil {
			return Permanent(fmt.Errorf("question %s: %w", q.name, err))
		}
		if err := q.link.outputs.check(ToAgent(agent), req); err != nil {
			return err
		}
	}
	deadline := wanted.Envelope.Expiry
	if deadline.IsZero() {
		deadline = time.Now().Add(DefaultRequestTimeout)
	}
	if at := asker.Expiry; !wanted.Lasting && !at.IsZero() && at.Before(deadline) {
		deadline = at
	}
	ask := schemas.Ask{
		Question: q.name, Key: key, Attributes: attributes(asker), Request: value, Wanted: attributes(&wanted.Envelope),
		Agents: agents, Enough: int32(enough), Deadline: deadline, //nolint:gosec // as many as there are agents
	}
	if ask.State, err = q.link.codec.Encode(ctx, state); err != nil {
		return fmt.Errorf("question %s: encode the state: %w", q.name, err)
	}
	return q.link.tell(ctx, d, &ask, wanted.Key, -1, time.Time{})
}

// tell stages a message of the agent to itself. The deadline of what is handled does
// not end it.
func (l *link) tell(ctx context.Context, d *streaming.Delivery, payload schemas.Message, key string, partition int32, at time.Time) error {
	messageType, value, err := encode(ctx, l.codec, payload)
	if err != nil {
		return err
	}
	out := d.Outbox.Next()
	outgoing{topic: l.namespace.Inbox(l.agent), partition: partition, kind: streaming.KindCommand, to: l.agent, key: key}.fill(out, messageType, value, nil)
	out.Lasting, out.Envelope.DeliverAt = true, at
	if d.Fits == nil {
		return nil
	}
	if err := d.Fits(out); err != nil {
		d.Outbox.Unstage()
		return err
	}
	return nil
}

// attributes are an envelope as text, by header.
func attributes(env *streaming.Envelope) map[string]string {
	all := make(map[string]string)
	for _, h := range schemas.AppendEnvelope(nil, env) {
		all[h.Key] = string(h.Value)
	}
	return all
}

// unattributed reads what attributes has written. What an envelope must have is
// filled in where it was missing.
func unattributed(all map[string]string) (streaming.Envelope, error) {
	rec := streaming.Record{Value: []byte{0}}
	for _, key := range []string{schemas.HeaderID, schemas.HeaderSource} {
		if all[key] == "" {
			rec.Headers = append(rec.Headers, streaming.Header{Key: key, Value: []byte("none")})
		}
	}
	for key, value := range all {
		rec.Headers = append(rec.Headers, streaming.Header{Key: key, Value: []byte(value)})
	}
	return schemas.DecodeEnvelope(&rec)
}
