package agents

import "github.com/seed-c9b6dc07/parley/schemas"

// HandlerOption changes what a handler is given.
type HandlerOption func(*handlerOptions)

type handlerOptions struct {
	where *string
}

// Where gives a handler only the messages for which a CEL expression is true:
//
//	agents.On(a, warn, agents.Where("payload.magnitude >= 5.0 && source != 'drill'"))
//
// It may use type, source, kind, recipient, key and correlationid, and payload, typed
// by the handler's own schema: a field that there is not, or a comparison of a number
// with a text, is refused when the agent is set up. Other messages are skipped and
// counted (parley_skipped_total), before the handler and before any ack: on a stream as
// a type that is not handled is, and on the inbox just so, never as a dead letter; a
// request that is skipped has no answer. Replies and error replies are not filtered. Where the expression cannot be evaluated for
// a message, such as a comparison with null, that is a dead letter, permanent, with
// a *schemas.FilterError: ask has(payload.field) first. A message that has been
// tried is not asked again.
func Where(expression string) HandlerOption {
	return func(o *handlerOptions) { o.where = &expression }
}

// Filters are the agent's filters, by message type: for an audit of its group.
func (a *Agent) Filters() map[string]*schemas.Filter { return a.filters }
