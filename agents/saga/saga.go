package saga

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Config says how long a saga waits. The zero value works.
type Config struct {
	Timeout      time.Duration // for the answer to a step or a compensation; default agents.DefaultRequestTimeout
	UndoAttempts int           // of each compensation; default 10
	UndoPause    time.Duration // before the second of them, doubled for each further one up to an hour; default 1 s
}

// Saga is a declared saga. S is what its steps work on.
type Saga[S schemas.Message] struct {
	agent *agents.Agent
	name  string
	cfg   Config
	steps []*Step[S]
	ended func(context.Context, *Ended[S]) error
}

// Step is one step: see Do and Compensate.
type Step[S schemas.Message] struct {
	name, agent string
	request     func(S) schemas.Message
	undo        func(S) schemas.Message // nil: there is nothing to undo

	declareDo, declareUndo func(g *Saga[S], i int)
	askDo, askUndo         asking
}

// asking asks the step's agent.
type asking func(ctx context.Context, m agents.Handled, agent string, req schemas.Message, p Progress, opts ...agents.Option) error

// Do is a step: a request to an agent. done takes its answer into the state. An error
// of done is a handler's outcome, retried by policy; Refuse(err) says that the step
// has not come to what it should, and the saga is undone.
func Do[Rep, S schemas.Message](name, agent string, request func(S) schemas.Message, done func(*S, Rep) error) *Step[S] {
	s := &Step[S]{name: name, agent: agent, request: request}
	s.declareDo = func(g *Saga[S], i int) {
		s.askDo = agents.OnAnswer(g.agent, g.name+"-"+name, func(ctx context.Context, m *agents.Answered[Rep, Progress]) error {
			return g.done(ctx, m.Message, i, func(state *S) error {
				reply, err := m.Answer()
				if err == nil {
					err = done(state, reply)
				}
				return err
			})
		}).Ask
	}
	return s
}

// Compensate gives a step its compensation: a request to the same agent that undoes
// it. It is also sent where the step has not answered in time, and may then find
// nothing to undo. It has to succeed: after Config.UndoAttempts it is given up.
func Compensate[Rep, S schemas.Message](s *Step[S], request func(S) schemas.Message) *Step[S] {
	s.undo = request
	s.declareUndo = func(g *Saga[S], i int) {
		s.askUndo = agents.OnAnswer(g.agent, g.name+"-undo-"+s.name, func(ctx context.Context, m *agents.Answered[Rep, Progress]) error {
			_, err := m.Answer()
			return g.undone(ctx, m.Message, i, err)
		}).Ask
	}
	return s
}

// RefusedError is what a step's answer came to, as its done says.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return "refused: " + e.Err.Error() }

// Unwrap returns why.
func (e *RefusedError) Unwrap() error { return e.Err }

// Refuse says, from a step's done, that the answer is a refusal.
func Refuse(err error) error { return &RefusedError{err} }

// Ended is a saga at its end. ID, Key and Reply are those of the message that has
// started it.
type Ended[S schemas.Message] struct {
	*agents.Message[Progress]
	State S
	Err   *FailedError // nil: all steps are done
}

// FailedError is a saga that has failed, and was undone.
type FailedError struct {
	Step   string           // that failed
	Reason streaming.Reason // if its agent has said one
	Text   string
	Left   []string // steps whose compensation was given up: their effects stand
}

func (e *FailedError) Error() string {
	text := fmt.Sprintf("step %s failed: %s", e.Step, e.Text)
	if len(e.Left) > 0 {
		text += fmt.Sprintf("; not undone: %v", e.Left)
	}
	return text
}

// New declares a saga of an agent. ended is called once for each that was started,
// like any handler; nil: nobody is told. Names of sagas and steps are part of
// what is stored.
func New[S schemas.Message](a *agents.Agent, name string, cfg Config, ended func(ctx context.Context, m *Ended[S]) error, steps ...*Step[S]) *Saga[S] {
	if cfg.Timeout == 0 {
		cfg.Timeout = agents.DefaultRequestTimeout
	}
	if cfg.UndoAttempts == 0 {
		cfg.UndoAttempts = 10
	}
	if cfg.UndoPause == 0 {
		cfg.UndoPause = time.Second
	}
	g := &Saga[S]{agent: a, name: name, cfg: cfg, steps: steps, ended: ended}
	if len(steps) == 0 {
		a.Invalid(fmt.Errorf("saga %s has no steps", name))
	}
	for i, s := range steps {
		s.declareDo(g, i)
		if s.declareUndo != nil {
			s.declareUndo(g, i)
		}
	}
	return g
}

// Start stages a saga's first step, in the handler of a message.
func (g *Saga[S]) Start(ctx context.Context, m agents.Handled, state S) error {
	return g.do(ctx, m, 0, state)
}

func (g *Saga[S]) do(ctx context.Context, m agents.Handled, i int, state S) error {
	value, err := g.agent.Platform().Codec().Encode(ctx, state)
	if err != nil {
		return fmt.Errorf("saga %s: encode the state: %w", g.name, err)
	}
	s := g.steps[i]
	return s.askDo(ctx, m, s.agent, s.request(state), Progress{State: value}, agents.Expires(time.Now().Add(g.cfg.Timeout)))
}

// done goes on when a step has been answered.
func (g *Saga[S]) done(ctx context.Context, m *agents.Message[Progress], i int, take func(*S) error) error {
	state, err := g.state(ctx, m)
	if err != nil {
		return err
	}
	before := state
	err = take(&state)
	var failed *agents.RequestError
	var silent *agents.NoReplyError
	var refused *RefusedError
	p := m.Payload
	switch {
	case err == nil && i+1 < len(g.steps):
		return g.do(ctx, m, i+1, state)
	case err == nil:
		return g.end(ctx, m, state, p)
	case errors.As(err, &failed):
		p.Failed, p.Reason, p.Message = g.steps[i].name, string(failed.Reason), failed.Error()
		return g.undo(ctx, m, i-1, before, p)
	case errors.As(err, &silent), errors.As(err, &refused):
		p.Failed, p.Message = g.steps[i].name, err.Error()
		return g.undo(ctx, m, i, before, p)
	default:
		return err
	}
}

// undo compensates the steps from the i-th back.
func (g *Saga[S]) undo(ctx context.Context, m *agents.Message[Progress], i int, state S, p Progress) error {
	for i >= 0 && g.steps[i].undo == nil {
		i--
	}
	if i < 0 {
		return g.end(ctx, m, state, p)
	}
	s := g.steps[i]
	now := time.Now()
	opts := []agents.Option{agents.Lasting()}
	if p.Attempts > 0 {
		now = now.Add(min(g.cfg.UndoPause<<min(p.Attempts-1, 20), time.Hour))
		opts = append(opts, agents.DeliverAt(now))
	}
	return s.askUndo(ctx, m, s.agent, s.undo(state), p, append(opts, agents.Expires(now.Add(g.cfg.Timeout)))...)
}

// undone goes on when a compensation has been answered.
func (g *Saga[S]) undone(ctx context.Context, m *agents.Message[Progress], i int, err error) error {
	state, bad := g.state(ctx, m)
	if bad != nil {
		return bad
	}
	p := m.Payload
	if err != nil {
		if p.Attempts++; int(p.Attempts) < g.cfg.UndoAttempts {
			return g.undo(ctx, m, i, state, p)
		}
		p.Left = append(p.Left, g.steps[i].name)
	}
	p.Attempts = 0
	return g.undo(ctx, m, i-1, state, p)
}

func (g *Saga[S]) end(ctx context.Context, m *agents.Message[Progress], state S, p Progress) error {
	if g.ended == nil {
		return nil
	}
	e := &Ended[S]{Message: m, State: state}
	if p.Failed != "" {
		e.Err = &FailedError{Step: p.Failed, Text: p.Message, Left: p.Left}
		if p.Reason != "" {
			e.Err.Reason = streaming.ParseReason(p.Reason)
		}
	}
	return g.ended(ctx, e)
}

// state is what was saved.
func (g *Saga[S]) state(ctx context.Context, m *agents.Message[Progress]) (state S, err error) {
	err = g.agent.Platform().Codec().Decode(ctx, m.Payload.State, &state, "")
	if err == nil {
		return state, nil
	}
	if reason, bad := schemas.ErrorReason(err); bad {
		return state, agents.DeadLetter(reason, err)
	}
	return state, agents.Unavailable(err)
}
