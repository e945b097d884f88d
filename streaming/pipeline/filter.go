package pipeline

import (
	"errors"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// unjudged reports whether a filter has still to say if a message is for the
// group. One that was tried has passed it, and stays.
func (l *Lane) unjudged(c *lane.Copy, m *message) *schemas.Filter {
	if m.bad != nil || m.judged || c.Attempts > 0 || len(l.cfg.Filters) == 0 {
		return nil
	}
	return l.cfg.Filters[m.env.Type]
}

// judge asks the filter, which may have to wait for a schema. Then it is the
// message's turn again, or it is skipped: nothing is written for that, as another
// owner comes to the same.
func (l *Lane) judge(f *schemas.Filter, c *lane.Copy, m *message) {
	matches, err := f.Match(l.ctx, l.cfg.Codec, &m.env, m.key, m.rec.Value)
	l.post(func() {
		l.running--
		var dead *streaming.DeadLetterError
		switch {
		case l.failure != nil:
		case err != nil && !errors.As(err, &dead):
			l.settle(&attempt{c: c, m: m, attempted: attempted{err: &streaming.UnavailableError{Err: err}}})
		case err != nil:
			l.settle(&attempt{c: c, m: m, attempted: attempted{err: err}})
		case matches:
			m.judged = true
			l.machine.GiveBack(c)
		default:
			l.cfg.Observer.Skipped()
			l.ended(c)
			l.machine.Skip(c)
		}
	})
}
