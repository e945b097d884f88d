package board

import (
	"hash/maphash"
	"maps"
)

// table is the entries of a board by key, in shards. Copies of it are cheap: they
// share their shards, and a shard that is shared is copied before it changes.
type table[T any] struct {
	shards [shardCount]*shard[T]
	epoch  uint64 // of the table: shards of an older one are shared
	live   int    // entries that have a value
}

// shardCount makes a copied shard of a board of 100,000 keys one of some 400.
const shardCount = 256

type shard[T any] struct {
	epoch   uint64
	entries map[string]*entry[T]
}

// entry is a version of a key; it never changes.
type entry[T any] struct {
	key     string
	value   T
	exists  bool // false: deleted
	version int64
	cause   uint64 // hash of the proposal's ID, by which a record that came twice is known
	seq     int64  // the number of the change in its view
}

// seed is one for all, so that tables of two views can be compared shard by shard.
var seed = maphash.MakeSeed()

func (t *table[T]) get(key string) *entry[T] {
	s := t.shards[maphash.String(seed, key)%shardCount]
	if s == nil {
		return nil
	}
	return s.entries[key]
}

func (t *table[T]) put(e *entry[T]) {
	at := &t.shards[maphash.String(seed, e.key)%shardCount]
	switch {
	case *at == nil:
		*at = &shard[T]{t.epoch, make(map[string]*entry[T])}
	case (*at).epoch != t.epoch:
		*at = &shard[T]{t.epoch, maps.Clone((*at).entries)}
	}
	entries := (*at).entries
	if old := entries[e.key]; old != nil {
		e.key = old.key // the key's bytes are there already
		if old.exists {
			t.live--
		}
	}
	if e.exists {
		t.live++
	}
	entries[e.key] = e
}

// share returns the table as it is, for good.
func (t *table[T]) share() table[T] {
	shared := *t
	t.epoch++
	return shared
}
