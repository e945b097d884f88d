package schemas

import (
	"context"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// maxFilterCost is what one evaluation of a filter may cost, in units of
// expr.Budget.
const maxFilterCost = 100_000

// Filter is a condition over messages of one type: a CEL expression over the
// attributes type, source, kind, recipient, key and correlationid, and over payload,
// which is of the reader's own schema. It is safe for concurrent use.
type Filter struct {
	expression string
	like       Message
	payload    *expr.Type
	program    *expr.Program
}

// FilterError says that a filter cannot be used, or cannot be evaluated for a
// message. It maps to streaming.ReasonPermanent.
type FilterError struct {
	Type       string // the message type
	Expression string
	Err        error
}

func (e *FilterError) Error() string {
	return clip(fmt.Sprintf("the filter %q of %s: %v", e.Expression, e.Type, e.Err), maxProblem)
}

// Unwrap returns the cause.
func (e *FilterError) Unwrap() error { return e.Err }

// NewFilter compiles a filter for messages that are read as like. The error is a
// *FilterError.
func NewFilter(like Message, expression string) (*Filter, error) {
	f := &Filter{expression: expression, like: like}
	types := expr.NewTypes()
	var err error
	if f.payload, err = types.Of(like.Schema()); err != nil {
		return nil, f.failed(err)
	}
	var vars []expr.Var
	for _, name := range []string{"type", "source", "kind", "recipient", "key", "correlationid"} {
		vars = append(vars, expr.Var{Name: name, Type: expr.StringType})
	}
	if f.program, err = types.Compile(expression, maxFilterCost, append(vars, expr.Var{Name: "payload", Type: f.payload})...); err != nil {
		return nil, f.failed(err)
	}
	return f, nil
}

func (f *Filter) failed(err error) error {
	return &FilterError{Type: MessageType(f.like.Schema()), Expression: f.expression, Err: err}
}

// Match says whether a message is for the reader. An answer, which the reader has asked
// for, always is. One whose value cannot be read
// is: what is wrong with it is then said by who reads it. What cannot be evaluated is
// a *FilterError; any other error is the registry's, or the end of ctx.
func (f *Filter) Match(ctx context.Context, codec *Codec, env *streaming.Envelope, key string, value []byte) (bool, error) {
	if env.Kind == streaming.KindReply || env.Kind == streaming.KindError {
		return true, nil
	}
	payload, err := codec.readable(ctx, value, f.like)
	if err != nil {
		if _, unreadable := ErrorReason(err); unreadable {
			return true, nil
		}
		return false, err
	}
	v, err := f.payload.Read(payload)
	if err == nil {
		var matches bool
		if matches, err = f.program.Eval(nil, expr.String(env.Type), expr.String(env.Source), expr.String(string(env.Kind)),
			expr.String(env.Recipient), expr.String(key), expr.String(env.CorrelationID), v); err == nil {
			return matches, nil
		}
	}
	return false, streaming.DeadLetter(streaming.ReasonPermanent, f.failed(err))
}

// readable returns the payload of a framed value as like's schema has it. Errors are
// Decode's.
func (c *Codec) readable(ctx context.Context, value []byte, like Message) ([]byte, error) {
	id, payload, err := ParseFrame(value)
	if err != nil {
		return nil, err
	}
	writer, err := c.schemas.Schema(ctx, id)
	if err != nil {
		return nil, err
	}
	p := c.plan(planKey{writer: writer, reader: like.Schema()})
	if p.err != nil {
		return nil, p.err
	}
	problem := p.walk.check(payload, &c.limits)
	if problem == "" && p.resolution != nil {
		payload, problem = p.resolution.rewrite(payload, &c.limits)
	}
	if problem != "" {
		return nil, &DecodeError{Schema: p.name, Problem: problem}
	}
	return payload, nil
}
