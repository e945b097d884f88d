package board

import (
	"context"
	"iter"
)

// Wait waits until the view has a key at that version or a later one: what
// CompareAndSet has returned, for example. Where that version cannot be read the error is
// an *UnreadableError. Otherwise it is the context's, or why the view has ended.
func (v *View[T]) Wait(ctx context.Context, key string, version int64) error {
	for {
		v.mu.Lock()
		e, bad, err, next := v.table.get(key), v.bad[key], v.err, v.next()
		v.mu.Unlock()
		switch {
		case e != nil && e.version >= version:
			return nil
		case bad != nil && bad.Version >= version:
			return bad
		case err != nil:
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next is closed at the next change. v.mu is held.
func (v *View[T]) next() <-chan struct{} {
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return v.changed
}

// Watch returns the changes from now on, until the context or the view ends. A slow
// reader misses no key: it gets the latest of each that has changed since it looked
// last. Versions in between may be left out, and a value that was set and deleted
// in between too. Memory for what waits there is none.
func (v *View[T]) Watch(ctx context.Context) iter.Seq[Change[T]] {
	return v.WatchFrom(ctx, v.Snapshot())
}

// WatchFrom is Watch from a snapshot of this view: what has changed since then comes
// first.
func (v *View[T]) WatchFrom(ctx context.Context, from *Snapshot[T]) iter.Seq[Change[T]] {
	return func(yield func(Change[T]) bool) {
		last := from
		for ctx.Err() == nil {
			v.mu.Lock()
			now, ended, next := v.snapshot(), v.err != nil, v.next()
			v.mu.Unlock()
			for _, c := range now.Diff(last) {
				if ctx.Err() != nil || !yield(c) {
					return
				}
			}
			if last = now; ended {
				return
			}
			select {
			case <-next:
			case <-ctx.Done():
			}
		}
	}
}
