package pipeline

import (
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// concerns reports whether a message on a stream is for this group: events of
// a type it handles, addressed to nobody else. What is on an inbox always is.
func (l *Lane) concerns(m *message) bool {
	if l.cfg.Inbox || m.bad != nil {
		return true
	}
	if m.env.Recipient != "" && m.env.Recipient != l.cfg.Agent {
		return false
	}
	return l.handler(m) != nil
}

// handler is the handler for a message, or nil.
func (l *Lane) handler(m *message) streaming.Handler {
	return streaming.HandlerOf(l.cfg.Handlers, m.env.Type)
}

// admit says why a message may not be handled, or nil.
func (l *Lane) admit(m *message, now time.Time) error {
	switch {
	case m.bad != nil:
		return streaming.DeadLetter(reasonOf(m.bad), m.bad)
	case m.env.Recipient != "" && m.env.Recipient != l.cfg.Agent:
		return streaming.DeadLetter(streaming.ReasonContract, &schemas.ContractError{
			Header: "ce_recipient", Problem: fmt.Sprintf("%q is not %q, whose inbox this is", m.env.Recipient, l.cfg.Agent),
		})
	case m.env.Hops <= 0:
		return streaming.DeadLetter(streaming.ReasonHops, fmt.Errorf("the hop budget is spent"))
	case !m.env.Expiry.IsZero() && now.After(m.env.Expiry):
		return streaming.DeadLetter(streaming.ReasonExpired, fmt.Errorf("expired at %s", m.env.Expiry.Format(time.RFC3339)))
	case l.handler(m) == nil:
		return streaming.DeadLetter(streaming.ReasonNoHandler, fmt.Errorf("agent %s has no handler for %s", l.cfg.Agent, m.env.Type))
	}
	return nil
}

// reasonOf is the closed reason of an error of this package's stages, of the
// codec or of a handler.
func reasonOf(err error) streaming.Reason {
	if r, ok := schemas.ErrorReason(err); ok {
		return r
	}
	return streaming.ReasonOf(err)
}
