package schemas

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// cowMap is a bounded map that is read far more often than written: a read
// takes no lock, a write copies. At its limit an arbitrary entry makes room.
type cowMap[K comparable, V any] struct {
	limit int
	mu    sync.Mutex
	m     atomic.Pointer[map[K]V]
}

func (c *cowMap[K, V]) get(k K) (V, bool) {
	if m := c.m.Load(); m != nil {
		v, ok := (*m)[k]
		return v, ok
	}
	var none V
	return none, false
}

func (c *cowMap[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[K]V{}
	if m := c.m.Load(); m != nil {
		next = maps.Clone(*m)
	}
	for old := range next {
		if len(next) < c.limit {
			break
		}
		delete(next, old)
	}
	next[k] = v
	c.m.Store(&next)
}

// expiringErrors remembers errors by key for a time, a bounded number of them.
type expiringErrors[K comparable] struct {
	limit int
	mu    sync.Mutex
	m     map[K]expiringError
}

type expiringError struct {
	err   error
	until time.Time
}

func (c *expiringErrors[K]) get(k K, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[k]
	if !ok || !now.Before(e.until) {
		return nil
	}
	return e.err
}

func (c *expiringErrors[K]) put(k K, err error, now, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[K]expiringError{}
	}
	if len(c.m) >= c.limit {
		c.makeRoom(now)
	}
	c.m[k] = expiringError{err: err, until: until}
}

// makeRoom drops what has expired, and down to half of the limit whatever
// comes, so that its cost is spread over as many writes.
func (c *expiringErrors[K]) makeRoom(now time.Time) {
	maps.DeleteFunc(c.m, func(_ K, e expiringError) bool { return !now.Before(e.until) })
	for k := range c.m {
		if len(c.m) <= c.limit/2 {
			break
		}
		delete(c.m, k)
	}
}

func (c *expiringErrors[K]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}

// flight runs one call per key at a time; who asks meanwhile gets its result.
type flight[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*flightCall[V]
}

type flightCall[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// do returns what fn returns. The call goes on for the others when the context
// of the one who began it ends, so fn gets a context without that end, bounded
// by timeout.
func (f *flight[K, V]) do(ctx context.Context, k K, timeout time.Duration, fn func(context.Context) (V, error)) (V, error) {
	f.mu.Lock()
	call, ok := f.calls[k]
	if !ok {
		call = &flightCall[V]{done: make(chan struct{})}
		if f.calls == nil {
			f.calls = map[K]*flightCall[V]{}
		}
		f.calls[k] = call
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
			defer cancel()
			call.value, call.err = fn(ctx)
			f.mu.Lock()
			delete(f.calls, k)
			f.mu.Unlock()
			close(call.done)
		}()
	}
	f.mu.Unlock()
	select {
	case <-call.done:
		return call.value, call.err
	case <-ctx.Done():
		var none V
		return none, context.Cause(ctx)
	}
}
