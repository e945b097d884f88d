package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
)

const nameRetry = "parley retry lateness"

// retryDelay is the smallest tier of the default policy.
const retryDelay = time.Second

var errFirst = errors.New("the first attempt fails")

// retryRound sends messages at a fixed rate, each with a key of its own, and has
// each fail once, so that as many retries are due each second. Their lateness is
// taken by the handler's own clock: from the end of the first attempt to the
// start of the second, less the delay. That is a little more than what the
// platform itself reports: the time until the failure is judged counts too.
func retryRound(ctx context.Context, e *env, o options) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+time.Duration(o.seconds)*time.Second)
	defer cancel()
	messages := (o.seconds + 1) * o.rate
	watch := newStopwatch(messages, o.rate)
	a := agents.New("retrier-"+shortID(), agents.Config{})
	agents.On(a, func(_ context.Context, m *agents.Message[Reading]) error {
		if m.Attempt == 1 {
			watch.start(int(m.Payload.Seq))
			return errFirst
		}
		watch.stop(int(m.Payload.Seq), retryDelay)
		return nil
	})
	stop, err := runAll(ctx, e, a)
	if err != nil {
		return nil, err
	}
	sender, err := e.platform.Sender("feed")
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	defer sender.Close()
	var sends sync.WaitGroup
	var once sync.Once
	var failed error
	pace(ctx, messages, o.rate, func(seq int) {
		sends.Go(func() {
			if err := sender.Send(ctx, sender.ToAgent(a.Name(), reading(int64(seq)), agents.Key(key(seq)))); err != nil {
				once.Do(func() { failed = err })
			}
		})
	})
	sends.Wait()
	if failed != nil {
		return nil, errors.Join(failed, stop())
	}
	late, err := watch.wait(ctx)
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	return late, e.removeOf(ctx, a.Name())
}
