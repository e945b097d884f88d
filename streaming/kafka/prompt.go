package kafka

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// promptRecords is how many messages may be on their way for another one not to
// linger. An answer on an idle worker leaves at once; under load, where many handlers
// end within the time, messages make requests of many.
const promptRecords = 4

// prompt counts the messages on their way to other agents. What stands in companion
// topics nobody waits for but the worker itself.
type prompt struct{ underway atomic.Int64 }

// of reports whether a record in a topic is counted.
func (p *prompt) of(topic string) bool { return !isCompanion(topic) }

// begin counts a record, and reports whether it is to leave at once.
func (p *prompt) begin() bool { return p.underway.Add(1) <= promptRecords }

func (p *prompt) end() { p.underway.Add(-1) }

// unlinger sends what lingers. The client has no other word for it than to flush,
// which need not be waited for.
func unlinger(cl *kgo.Client) { _ = cl.Flush(ended) }

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
