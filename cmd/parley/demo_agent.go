package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
)

// demoAgent is one agent of the demo, kept at work until it is told to stop.
type demoAgent struct {
	demo    *demo
	agent   *agents.Agent
	auditor *audit.Auditor

	ready     chan struct{} // closed when it is at work
	readyOnce sync.Once
	mu        sync.Mutex
	stopping  bool
	stopSent  chan struct{} // closed when the stop is durable
}

// startAgents puts all agents to work. The channel is closed when all have
// ended; one that fails cancels the others with its error.
func (d *demo) startAgents(ctx context.Context, cancel context.CancelCauseFunc) <-chan struct{} {
	var all sync.WaitGroup
	for _, a := range d.agents {
		a.ready = make(chan struct{})
		all.Go(func() {
			if err := a.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	return ended
}

// run keeps a worker of the agent running. A worker that ends obeyed a stop:
// where it was one that an earlier, killed run had left behind, another worker
// takes over.
func (a *demoAgent) run(ctx context.Context) error {
	for {
		if err := a.work(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		a.mu.Lock()
		stopping := a.stopping
		a.mu.Unlock()
		if stopping {
			return a.finish(ctx)
		}
	}
}

func (a *demoAgent) work(ctx context.Context) error {
	w, err := a.demo.platform.Worker(a.agent)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-w.Ready():
			a.readyOnce.Do(func() { close(a.ready) })
		case <-ended:
		}
	}()
	return w.Run(ctx)
}

// finish sees to it that our stop is settled too: the worker may have obeyed an
// earlier one, or not have got to commit. A worker that finds its stop settled
// does not end by it, so it is ended when nothing is left.
func (a *demoAgent) finish(ctx context.Context) error {
	select {
	case <-a.stopSent:
	case <-ctx.Done():
		return nil
	}
	if empty, err := a.empty(ctx); empty || err != nil {
		return err
	}
	working, end := context.WithCancel(ctx)
	defer end()
	var watching sync.WaitGroup
	var failed error
	watching.Go(func() {
		defer end()
		for empty := false; !empty && failed == nil && working.Err() == nil; {
			empty, failed = a.empty(working)
			select {
			case <-working.Done():
			case <-time.After(lookPause):
			}
		}
	})
	err := a.work(working)
	end()
	watching.Wait()
	if errors.Is(failed, context.Canceled) {
		failed = nil // the worker ended first
	}
	return errors.Join(err, failed)
}

func (a *demoAgent) empty(ctx context.Context) (bool, error) {
	backlogs, err := audit.Backlogs(ctx, a.auditor)
	empty := false
	if err == nil {
		empty, err = a.rests(ctx, backlogs[0])
	}
	if err != nil {
		return false, fmt.Errorf("agent %s: %w", a.agent.Name(), err)
	}
	return empty, nil
}

func (a *demoAgent) waitReady(ctx context.Context) error {
	select {
	case <-a.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop tells the agent to end once all that came before is settled.
func (a *demoAgent) stop(ctx context.Context) error {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	if err := a.demo.sender.Stop(ctx, a.agent.Name(), "every lane is empty"); err != nil {
		return fmt.Errorf("stop %s: %w", a.agent.Name(), err)
	}
	close(a.stopSent)
	return nil
}
