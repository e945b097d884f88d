package agents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// An Ask goes this way, all of it in one partition of the agent's inbox:
//
//	handler of m ─▶ Ask ─▶ requests, and AskOver for the deadline
//	answers ─▶ kept until they are enough ─▶ question.resume
//	AskOver, when due ─▶ AskOver at once ─▶ question.resume with what is there, if it
//	is not over
//
// The state has an entry for the Ask and one for each request without an answer,
// that leads to it. They go when resume succeeds.

// question is a Question without its types.
type question interface {
	resume(ctx context.Context, d *streaming.Delivery, ask *schemas.Ask) error
}

// asking handles what belongs to an agent's questions.
type asking struct {
	link      *link
	questions map[string]question
}

// withAnswers adds to an agent's handlers those that its questions need.
func (a *Agent) withAnswers() map[string]streaming.Handler {
	if a.questions == nil {
		return a.handlers
	}
	k := &asking{a.link, a.questions}
	all := maps.Clone(a.handlers)
	fill := func(messageType string, h streaming.Handler) {
		all[messageType] = answering{k, all[messageType], h}
	}
	for messageType, h := range a.answers {
		fill(messageType, h)
	}
	fill(schemas.TypeErrorReply, erased[schemas.ErrorReply]{link: a.link})
	all[schemas.TypeAsk] = erased[schemas.Ask]{link: a.link, handle: k.open}
	all[schemas.TypeAskOver] = erased[schemas.AskOver]{link: a.link, handle: k.over}
	return all
}

// ErrNotOwn says that a message of another agent has a type that an agent sends to
// itself only.
var ErrNotOwn = errors.New("only the agent itself sends messages of this type")

// open sends the requests of an Ask.
func (k *asking) open(ctx context.Context, m *Message[schemas.Ask]) error {
	d, ask := m.Delivery(), &m.Payload
	if m.Envelope.Source != k.link.agent {
		return DeadLetter(streaming.ReasonPolicy, ErrNotOwn)
	}
	wanted, err := unattributed(ask.Wanted)
	if err != nil {
		return Permanent(err)
	}
	wanted.ReplyTo = fmt.Sprintf("%s/%d", d.Claim.Topic, d.Claim.Partition)
	wanted.Expiry = ask.Deadline
	for i, agent := range ask.Agents {
		id := schemas.DerivedID(m.Envelope.Source, m.Envelope.ID, d.Claim.Group, len(d.Outbox.Staged()))
		wanted.Recipient = agent
		d.Outbox.Stage(streaming.Outgoing{
			Envelope: wanted, Topic: k.link.namespace.Inbox(agent), Partition: -1, Key: d.Key, Value: ask.Request, Optional: true,
		})
		if err := d.State.Set(requestEntry(id), []byte(strconv.Itoa(i)+" "+m.Envelope.ID)); err != nil {
			return err
		}
	}
	if err := k.link.tell(ctx, d, &schemas.AskOver{Ask: m.Envelope.ID}, d.Key, d.Claim.Partition, ask.Deadline); err != nil {
		return err
	}
	return k.save(ctx, d, m.Envelope.ID, ask)
}

// Names of entries in the agent's state. Those of Keep have no slash in front.
func askEntry(id string) string     { return "/ask/" + id }
func requestEntry(id string) string { return "/request/" + id }

func (k *asking) save(ctx context.Context, d *streaming.Delivery, id string, ask *schemas.Ask) error {
	value, err := k.link.codec.Encode(ctx, ask)
	if err != nil {
		return err
	}
	return d.State.Set(askEntry(id), value)
}

// load returns an Ask that is not over.
func (k *asking) load(ctx context.Context, d *streaming.Delivery, id string) (*schemas.Ask, error) {
	value, ok, err := d.State.Get(askEntry(id))
	if err != nil || !ok {
		return nil, err
	}
	ask := new(schemas.Ask)
	return ask, k.link.codec.Decode(ctx, value, ask, schemas.TypeAsk)
}

// over ends an Ask at its deadline.
func (k *asking) over(ctx context.Context, m *Message[schemas.AskOver]) error {
	if m.Envelope.Source != k.link.agent {
		return DeadLetter(streaming.ReasonPolicy, ErrNotOwn)
	}
	d := m.Delivery()
	if !m.Envelope.DeliverAt.IsZero() {
		// What is due takes a place in its key that depends on when that is: after a
		// restart it may come before an answer that it came after, which has the undone
		// state of a run that died. In the log it has one place, whoever reads it.
		return k.link.tell(ctx, d, &m.Payload, d.Key, d.Claim.Partition, time.Time{})
	}
	ask, err := k.load(ctx, d, m.Payload.Ask)
	if err != nil || ask == nil {
		return err
	}
	return k.resume(ctx, d, m.Payload.Ask, ask)
}

// answered takes an answer. ours is false for an answer to none of the questions
// that wait.
func (k *asking) answered(ctx context.Context, d *streaming.Delivery, payload schemas.Message) (ours bool, err error) {
	env := d.Envelope
	name := requestEntry(env.CausationID)
	if !isAnswer(env) || env.CausationID == "" || len(name) > streaming.MaxStateName {
		return false, nil
	}
	found, ok, err := d.State.Get(name)
	if err != nil || !ok || isPart(env) {
		return ok, err // a question waits for the whole
	}
	number, id, _ := strings.Cut(string(found), " ")
	i, err := strconv.Atoi(number)
	if err != nil {
		return true, Permanent(err)
	}
	ask, err := k.load(ctx, d, id)
	if err != nil || ask == nil {
		return false, err
	}
	value, err := k.link.codec.Encode(ctx, payload)
	if err != nil {
		return true, err
	}
	ask.Answers = append(ask.Answers, schemas.AskAnswer{Agent: ask.Agents[i], Type: env.Type, Value: value})
	good := 0
	for _, a := range ask.Answers {
		if a.Type != schemas.TypeErrorReply {
			good++
		}
	}
	if err := d.State.Set(name, nil); err != nil {
		return true, err
	}
	if good < int(ask.Enough) && len(ask.Answers) < len(ask.Agents) {
		return true, k.save(ctx, d, id, ask)
	}
	return true, k.resume(ctx, d, id, ask)
}

// resume lets the agent go on, and forgets the Ask.
func (k *asking) resume(ctx context.Context, d *streaming.Delivery, id string, ask *schemas.Ask) error {
	q := k.questions[ask.Question]
	if q == nil {
		return fmt.Errorf("the agent has no question %s", ask.Question)
	}
	if err := q.resume(ctx, d, ask); err != nil {
		return err
	}
	for position := range ask.Agents {
		name := requestEntry(schemas.DerivedID(k.link.agent, id, d.Claim.Group, position))
		if _, waits, err := d.State.Get(name); err != nil {
			return err
		} else if waits {
			if err := d.State.Set(name, nil); err != nil {
				return err
			}
		}
	}
	return d.State.Set(askEntry(id), nil)
}

// answering is the handler of a message type that answers a question, perhaps
// beside the author's own.
type answering struct {
	asking *asking
	own    streaming.Handler // nil: none
	answer streaming.Handler
}

// New implements streaming.Handler.
func (h answering) New() any {
	if h.own != nil {
		return h.own.New()
	}
	return h.answer.New()
}

// Handle implements streaming.Handler.
func (h answering) Handle(ctx context.Context, d *streaming.Delivery) error {
	payload, ok := d.Payload.(interface{ value() schemas.Message })
	if ok {
		if ours, err := h.asking.answered(ctx, d, payload.value()); ours || err != nil {
			return err
		}
	}
	if h.own != nil {
		return h.own.Handle(ctx, d)
	}
	h.asking.link.dropped(DroppedLate)
	return nil
}

// resumed calls a question's handler.
type resumed[Rep, S schemas.Message] struct {
	link   *link
	handle func(context.Context, *Answered[Rep, S]) error
}

func (q resumed[Rep, S]) resume(ctx context.Context, d *streaming.Delivery, ask *schemas.Ask) error {
	env, err := unattributed(ask.Attributes)
	if err != nil {
		return Permanent(err)
	}
	m := &Message[S]{Envelope: env, Key: ask.Key, Attempt: d.Attempt, out: &outbox{ctx: ctx, link: q.link, cause: d}}
	m.out.asker = &m.Envelope
	if err := q.link.decode(ctx, ask.State, &m.Payload); err != nil {
		return err
	}
	a := &Answered[Rep, S]{Message: m}
	missing := make(map[string]int)
	for _, agent := range ask.Agents {
		missing[agent]++
	}
	for _, came := range ask.Answers {
		missing[came.Agent]--
		answer := Answer[Rep]{Agent: came.Agent}
		answer.Err = q.read(ctx, &came, &answer.Reply)
		var unavailable *streaming.UnavailableError
		if errors.As(answer.Err, &unavailable) {
			return answer.Err
		}
		a.Answers = append(a.Answers, answer)
	}
	for _, agent := range ask.Agents {
		if missing[agent]--; missing[agent] >= 0 {
			a.Answers = append(a.Answers, Answer[Rep]{Agent: agent, Err: &NoReplyError{Agent: agent, Err: context.DeadlineExceeded}})
		}
	}
	return q.handle(ctx, a)
}

// read decodes an answer.
func (q resumed[Rep, S]) read(ctx context.Context, came *schemas.AskAnswer, into *Rep) error {
	if came.Type == schemas.TypeErrorReply {
		var e schemas.ErrorReply
		if err := q.link.decode(ctx, came.Value, &e); err != nil {
			return err
		}
		return &RequestError{Agent: came.Agent, Reason: streaming.ParseReason(e.Reason), Text: e.Message}
	}
	return q.link.decode(ctx, came.Value, into)
}

// decode reads what the agent has written itself. Errors are outcomes of a handler.
func (l *link) decode(ctx context.Context, value []byte, into any) error {
	if err := l.codec.Decode(ctx, value, into, ""); err != nil {
		return outcomeOf(err)
	}
	return nil
}

// outcomeOf is the outcome of a handler that could not decode something.
func outcomeOf(err error) error {
	if reason, bad := schemas.ErrorReason(err); bad {
		return streaming.DeadLetter(reason, err)
	}
	return Unavailable(err)
}
