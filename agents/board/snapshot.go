package board

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// Snapshot is a view at one time; it does not change. It costs 2 KiB, and later a
// copy of the parts of the board that change; values it shares.
//
// What it holds is what stands in each partition of the board up to one offset.
// Nothing ties keys of different partitions together.
type Snapshot[T any] struct {
	table    table[T]
	position map[int32]int64
}

// Entry is a value with its version.
type Entry[T any] struct {
	Value   T
	Version int64
}

// Get returns the value of a key and its version, as View.Get does.
func (s *Snapshot[T]) Get(key string) (value T, version int64, ok bool) {
	return s.table.get(key).read()
}

func (e *entry[T]) read() (value T, version int64, ok bool) {
	if e == nil {
		return value, 0, false
	}
	return e.value, e.version, e.exists
}

// Len is how many keys have a value.
func (s *Snapshot[T]) Len() int { return s.table.live }

// Position is the offset up to which each partition of the board was read.
func (s *Snapshot[T]) Position() map[int32]int64 { return maps.Clone(s.position) }

// All returns the keys that have a value, in no order.
func (s *Snapshot[T]) All() iter.Seq2[string, Entry[T]] {
	return func(yield func(string, Entry[T]) bool) {
		for _, sh := range s.table.shards {
			if sh == nil {
				continue
			}
			for key, e := range sh.entries {
				if e.exists && !yield(key, Entry[T]{e.value, e.version}) {
					return
				}
			}
		}
	}
}

// ChangeKind is what has become of a key.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Changed ChangeKind = "changed"
	Removed ChangeKind = "removed"
)

// Change is what has become of a key between two looks at a board.
type Change[T any] struct {
	Kind    ChangeKind
	Key     string
	Value   T     // empty where removed
	Version int64 // now; 0 where not even the deletion is known any more
	Before  int64 // version at the first look; 0: it was not known
}

// Diff returns what has become of each key since an older snapshot, in the order in
// which the last change of each has come. A key that was set and deleted in between is not
// among them. It looks at the parts of the board that have changed only.
func (s *Snapshot[T]) Diff(older *Snapshot[T]) []Change[T] {
	var changed []change[T]
	for i, now := range s.table.shards {
		was := older.table.shards[i]
		if now == was {
			continue
		}
		if now != nil {
			for key, e := range now.entries {
				changed = appendChange(changed, was.get(key), e)
			}
		}
		if was != nil {
			for key, e := range was.entries {
				if now.get(key) == nil {
					changed = appendChange(changed, e, &entry[T]{key: key})
				}
			}
		}
	}
	slices.SortFunc(changed, func(a, b change[T]) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.Key, b.Key)) })
	all := make([]Change[T], len(changed))
	for i := range changed {
		all[i] = changed[i].Change
	}
	return all
}

func (s *shard[T]) get(key string) *entry[T] {
	if s == nil {
		return nil
	}
	return s.entries[key]
}

// change is one with the number by which it is sorted.
type change[T any] struct {
	Change[T]
	seq int64
}

func appendChange[T any](all []change[T], was, now *entry[T]) []change[T] {
	c := change[T]{Change[T]{Key: now.key, Value: now.value, Version: now.version}, now.seq}
	existed := false
	if was != nil {
		existed, c.Before = was.exists, was.version
	}
	switch {
	case !existed && now.exists:
		c.Kind = Added
	case existed && !now.exists:
		c.Kind = Removed
	case existed && (was.version != now.version || was.cause != now.cause):
		c.Kind = Changed
	default:
		return all
	}
	return append(all, c)
}
