package kafka

import (
	"context"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// heardOf is how long after a message was sent a topic that it names must be listed to
// count as there: a busy broker hears of a new topic later than who has made it.
const heardOf = 2 * time.Second

// Absent reports whether it has to be asked if the topic of a record exists; told is
// then told, once, from another goroutine. A topic counts as absent when brokers do not
// list it heardOf after what has caused the record, which is at once where that is past.
func (l *Log) Absent(rec *streaming.Record, told func(absent bool)) (asked bool) {
	if l.limits.isKnown(rec.Topic) {
		return false
	}
	go func() { told(l.limits.absent(l.limits.ctx, rec.Topic, rec.Caused)) }()
	return true
}

func (l *limits) isKnown(topic string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.topics[topic]
	return known
}

func (l *limits) absent(ctx context.Context, topic string, caused time.Time) bool {
	if len(l.ask(ctx, topic)) == 0 {
		return false
	}
	wait := min(heardOf, time.Until(caused.Add(heardOf))) // the clock is another machine's
	if wait <= 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return len(l.ask(ctx, topic)) > 0
	}
}
