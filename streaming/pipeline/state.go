package pipeline

import (
	"bytes"
	"slices"
	"sync"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// keyedState is what the agent remembers of the messages of one lane. All of it
// is in memory; its log is the lane's partition of the state topic.
//
// An entry keeps what stood before its last change until the message that made it
// is known to be done: if that message is handled again, it starts from there. One
// change back is enough, as nobody else is let at an entry before its message is
// settled, or, exactly once, staged: then all that is not done is lost together.
type keyedState struct {
	mu      sync.Mutex
	entries map[string]*stateEntry
	stale   map[string]bool // entries whose last record in the log is not what holds
}

type stateEntry struct {
	value    []byte // nil: none
	previous []byte
	writer   streaming.MessageID
	version  int64
	settled  bool          // the writer's message is known to be done: if it comes again, the ledger has forgotten it
	user     *attemptState // a run whose message is neither settled nor staged
	stagedBy string        // key of these
	staged   []*used       // changes of messages that are staged, in order: the last is what holds
}

// RecallState tells of a record of the state topic before the lane is opened. One
// of a lower version than what stands before it comes from a worker that was frozen
// since then: it does not count. Whose record it is does not matter, as with marks: a
// worker that was thrown out may have gone on from where its successor died.
func (l *Lane) RecallState(rec *streaming.Record) {
	s := &l.kept
	e := schemas.ParseState(rec)
	if s.entries == nil {
		s.entries, s.stale = make(map[string]*stateEntry), make(map[string]bool)
	}
	if known := s.entries[e.Name]; known != nil && known.value != nil && known.version > e.Version {
		s.stale[e.Name] = true
		return
	}
	delete(s.stale, e.Name)
	s.entries[e.Name] = &stateEntry{
		value: bytes.Clone(e.Value), previous: bytes.Clone(e.Previous), writer: e.Writer, version: e.Version,
	}
}

// openState forgets what no message can ask for any more, and writes again what a
// frozen worker has overwritten.
func (l *Lane) openState() {
	s := &l.kept
	for name, e := range s.entries {
		if f, ok := l.cfg.Facts.Settled(e.writer); ok && f.Done {
			if e.previous, e.settled = nil, true; e.value == nil {
				delete(s.entries, name)
			}
		}
	}
	for name := range s.stale {
		kept := s.entries[name]
		e := schemas.StateEntry{Name: name, Value: kept.value, Previous: kept.previous, Writer: kept.writer, Version: kept.version}
		l.conclude(&conclusion{
			recs:    []*streaming.Record{schemas.StateRecord(l.cfg.StateTopic, l.cfg.Partition, &e)},
			settled: func([]int64, int64) {},
			refused: l.fail,
		})
	}
	s.stale = nil
}

// attemptState is the state as one run of a handler sees it.
type attemptState struct {
	l   *Lane
	id  streaming.MessageID
	key string

	mu    sync.Mutex
	ended bool
	used  []*used // in the order of first use
}

// used is an entry that a run has asked for or set.
type used struct {
	name    string
	before  []byte
	version int64 // of before
	again   bool  // the log has a change of this message already
	set     bool
	value   []byte
}

// Get implements streaming.State.
func (s *attemptState) Get(name string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.use(name)
	if err != nil {
		return nil, false, err
	}
	value := u.before
	if u.set {
		value = u.value
	}
	return value, value != nil, nil
}

// Set implements streaming.State.
func (s *attemptState) Set(name string, value []byte) error {
	if len(value) > s.l.cfg.StateBytes {
		return permanent(&streaming.StateTooLargeError{Name: name, Size: len(value), Limit: s.l.cfg.StateBytes})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.use(name)
	if err != nil {
		return err
	}
	u.set, u.value = true, value
	return nil
}

func (s *attemptState) use(name string) (*used, error) {
	switch {
	case s.l.cfg.StateTopic == "":
		return nil, permanent(streaming.ErrNoState)
	case name == "" || len(name) > streaming.MaxStateName:
		return nil, permanent(streaming.ErrStateName)
	case s.ended:
		return nil, streaming.ErrStateTooLate
	}
	for _, u := range s.used {
		if u.name == name {
			return u, nil
		}
	}
	u, err := s.l.kept.take(name, s)
	if err != nil {
		return nil, err
	}
	s.used = append(s.used, u)
	return u, nil
}

// end tells that the handler has returned.
func (s *attemptState) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// records are the changes of a run. An entry that an earlier run of the message had
// changed and this one has not is put back.
func (s *attemptState) records() []*streaming.Record {
	var recs []*streaming.Record
	for _, u := range s.used {
		if !u.set && !u.again {
			continue
		}
		if !u.set {
			u.set, u.value = true, u.before
		}
		recs = append(recs, schemas.StateRecord(s.l.cfg.StateTopic, s.l.cfg.Partition, &schemas.StateEntry{
			Name: u.name, Value: u.value, Previous: u.before, Writer: s.id, Version: u.version + 1,
		}))
	}
	return recs
}

// take gives an entry to a run, until its message is settled or has failed.
func (k *keyedState) take(name string, by *attemptState) (*used, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entries == nil {
		k.entries = make(map[string]*stateEntry)
	}
	e := k.entries[name]
	if e == nil {
		e = new(stateEntry)
		k.entries[name] = e
	}
	if e.user != nil || len(e.staged) > 0 && e.stagedBy != by.key {
		return nil, streaming.ErrStateBusy
	}
	e.user = by
	if n := len(e.staged); n > 0 {
		return &used{name: name, before: e.staged[n-1].value, version: e.staged[n-1].version + 1}, nil
	}
	if e.writer == by.id && !e.settled {
		return &used{name: name, before: e.previous, version: e.version - 1, again: true}, nil
	}
	return &used{name: name, before: e.value, version: e.version}, nil
}

// stage lets the next of the key at the entries of a run whose message is staged: what
// it finds is what this one has left.
func (k *keyedState) stage(by *attemptState) {
	if by == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, u := range by.used {
		e := k.entries[u.name]
		e.user = nil
		if u.set {
			e.staged, e.stagedBy = append(e.staged, u), by.key
		}
		k.tidy(u.name, e, false)
	}
}

// settle lets the entries of a run go: with its changes once its message is
// done, else as they were.
func (k *keyedState) settle(by *attemptState, done bool) {
	if by == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, u := range by.used {
		e := k.entries[u.name]
		if e == nil {
			continue
		}
		e.staged = slices.DeleteFunc(e.staged, func(s *used) bool { return s == u })
		if e.user == by {
			e.user = nil
		}
		if done && (u.set || u.again) {
			e.value, e.previous, e.writer, e.version, e.settled = u.value, nil, by.id, u.version+1, true
		}
		k.tidy(u.name, e, done)
	}
}

// tidy forgets an entry that says nothing and that nobody uses. That a message which used
// it is done says that the writer before it is, too.
func (k *keyedState) tidy(name string, e *stateEntry, done bool) {
	if e.value == nil && (done || e.previous == nil) && e.user == nil && len(e.staged) == 0 {
		delete(k.entries, name)
	}
}
