package routes

import (
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Kept is how many versions stay in the topic, for a rollback. Older ones, and sets
// that have lost, are taken back by whoever applies the next.
const Kept = 20

// Entry is a record of the topic of routes.
type Entry struct {
	Key     string
	Version int64 // by the key
	Offset  int64
	Time    time.Time
	Set     *schemas.RouteSet // nil: it cannot be read, and changes nothing but the version
}

// Log is what the records of the topic of routes come to. Taken in their order,
// they come to the same for every reader: a set counts if its version is one more
// than that of the one before, or if it is the first. So of two sets of one version
// the first counts, and the other has never been.
type Log struct {
	entries []Entry // in the order of the log
	chain   []int   // those that count
	next    int64   // the offset after the last record
}

// Take takes the next record; one without a set and a version of 0 takes back what
// stands under its key. A record whose offset has been passed means that the topic
// is read from its start again: what was there before is forgotten.
func (l *Log) Take(e Entry) {
	if e.Offset < l.next {
		l.entries = nil
	}
	l.next = e.Offset + 1
	l.entries = slices.DeleteFunc(l.entries, func(old Entry) bool { return old.Key == e.Key })
	if e.Version > 0 {
		l.entries = append(l.entries, e)
	}
	// From the start, as what was taken back may have been the first.
	l.chain = l.chain[:0]
	version := int64(0)
	for i := range l.entries {
		if v := l.entries[i].Version; len(l.chain) == 0 || v == version+1 {
			l.chain, version = append(l.chain, i), v
		}
	}
}

// Version is that of the last set that counts; 0: there is none.
func (l *Log) Version() int64 {
	if len(l.chain) == 0 {
		return 0
	}
	return l.entries[l.chain[len(l.chain)-1]].Version
}

// Latest are the sets that count, the latest first. One that cannot be read is
// among them.
func (l *Log) Latest() []Entry {
	all := make([]Entry, 0, len(l.chain))
	for _, i := range slices.Backward(l.chain) {
		all = append(all, l.entries[i])
	}
	return all
}

// Find returns the set that counts as that version.
func (l *Log) Find(version int64) (Entry, bool) {
	for _, i := range l.chain {
		if l.entries[i].Version == version {
			return l.entries[i], true
		}
	}
	return Entry{}, false
}

// Outdated are the keys of what no reader needs any more: versions that are not
// kept, and sets that have lost.
func (l *Log) Outdated() []string {
	counts := make(map[int]bool)
	for _, i := range l.chain {
		counts[i] = true
	}
	var keys []string
	for i, e := range l.entries {
		if !counts[i] || e.Version <= l.Version()-Kept {
			keys = append(keys, e.Key)
		}
	}
	return keys
}
