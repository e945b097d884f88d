package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
)

// parleyCopy is one agent that handles readings and publishes results. Messages
// of keys that fail are not waited for. The time includes the drain at the end:
// all outputs and marks are acknowledged and offsets committed then.
func parleyCopy(exactlyOnce bool, fails func(key string) bool) func(context.Context, *env, copyJob) (time.Duration, error) {
	return func(ctx context.Context, e *env, job copyJob) (time.Duration, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		want := int64(job.messages)
		if fails != nil {
			want = int64(healthy(job))
		}
		var (
			once    sync.Once
			start   time.Time
			handled atomic.Int64
		)
		a := agents.New("copier", agents.Config{
			Streams: []string{job.streamIn}, Group: job.group, ExactlyOnce: exactlyOnce, Instance: job.group,
		})
		agents.On(a, func(_ context.Context, m *agents.Message[Reading]) error {
			once.Do(func() { start = time.Now() })
			if fails != nil && fails(m.Key) {
				return errFailing
			}
			if err := m.Publish(job.streamOut, result(&m.Payload), agents.Key(m.Key)); err != nil {
				return err
			}
			if handled.Add(1) == want {
				cancel()
			}
			return nil
		})
		if err := e.platform.Run(ctx, a); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if n := handled.Load(); n < want {
			return 0, context.Cause(ctx)
		}
		return took, nil
	}
}

var errFailing = errors.New("this key fails")

// failing reports of a key whether it is one of the 1 % that fail.
func failing(keys int) func(string) bool {
	bad := map[string]bool{}
	for n := 0; n < keys; n += 100 {
		bad[key(n)] = true
	}
	return func(key string) bool { return bad[key] }
}

// healthy is the number of messages whose keys do not fail.
func healthy(job copyJob) int {
	n := 0
	for seq := range job.messages {
		if seq%job.keys%100 != 0 {
			n++
		}
	}
	return n
}
