// Package ledgertest is the conformance suite of ledgers: what each kind of memory
// of handled messages has to keep, whatever it is made of.
//
// The seam is an owner of a lane that brings messages to their ends. It lies where
// the ledgers meet: one asks a window in memory and marks in a topic, another one
// asks and marks in the handler's own database transaction, and no smaller interface
// is common to both.
package ledgertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Message is one message: its ID is what a ledger knows it by.
type Message struct{ ID, Key string }

// ErrDead is what a handler returns to have its message dead-lettered.
var ErrDead = errors.New("dead")

// Owner is one owner of a lane.
type Owner interface {
	// Handle brings messages to their ends, different keys side by side. Of a
	// message that the ledger knows to be done or dead the handler does not run.
	// Where it returns nil the message is done; where ErrDead, dead; after any
	// other error it runs again. It returns when all have come to their ends, or the
	// owner has stopped.
	Handle(t testing.TB, handler func(Message) error, messages ...Message)
	// Stop ends the owner at once: what its handlers are doing is given up.
	Stop()
}

// Ledger is one ledger with the lane that it belongs to.
type Ledger interface {
	// Own returns a new owner, which knows what was marked before.
	Own(t testing.TB) Owner
	// Effects is how often a message's handler has had its effect.
	Effects(t testing.TB, id string) int
	// Pass lets time pass.
	Pass(t testing.TB, d time.Duration)
}

// Kind is one kind of ledger, and what it claims.
type Kind struct {
	// New returns a ledger that remembers for that long, and, if Sized, so many.
	New func(t testing.TB, window time.Duration, size int) Ledger

	Durable bool // its marks outlive their owner
	Dead    bool // it remembers dead letters
	Fenced  bool // an owner that goes on beside a later one has no effect
	Sized   bool // its window is bounded in size
}

const (
	window = time.Hour
	size   = 1000
)

// Run holds a kind of ledger to what it claims.
func Run(t *testing.T, k Kind) {
	for _, test := range []struct {
		name string
		when bool
		run  func(*testing.T, Kind)
	}{
		{"a message seen before has no second effect", true, seenBefore},
		{"only success is marked", true, markAfterSuccess},
		{"done ends every copy", true, doneEndsEveryCopy},
		{"dead letters are remembered", k.Dead, deadIsRemembered},
		{"marks survive their owner", k.Durable, survive},
		{"marks above the watermark survive their owner", k.Durable, aboveTheWatermark},
		{"many mark at once", true, manyAtOnce},
		{"a former owner has no effect", k.Fenced, fenced},
		{"the window ends by time", true, windowByTime},
		{"the window ends by size", k.Sized, windowBySize},
	} {
		if test.when {
			t.Run(test.name, func(t *testing.T) { test.run(t, k) })
		}
	}
}

func (k Kind) start(t *testing.T) (Ledger, Owner) {
	l := k.New(t, window, size)
	o := l.Own(t)
	t.Cleanup(o.Stop)
	return l, o
}

func want(t *testing.T, l Ledger, effects int, messages ...Message) {
	t.Helper()
	for _, m := range messages {
		if n := l.Effects(t, m.ID); n != effects {
			t.Errorf("%s has had %d effects, want %d", m.ID, n, effects)
		}
	}
}

func several(n int) []Message {
	all := make([]Message, n)
	for i := range all {
		all[i] = Message{ID: fmt.Sprintf("m-%03d", i), Key: fmt.Sprintf("k-%d", i)}
	}
	return all
}

func succeed(Message) error { return nil }

func never(t *testing.T) func(Message) error {
	return func(m Message) error {
		t.Errorf("the handler of %s has run again", m.ID)
		return nil
	}
}

func seenBefore(t *testing.T, k Kind) {
	l, o := k.start(t)
	all := several(10)
	o.Handle(t, succeed, all...)
	o.Handle(t, never(t), all...)
	want(t, l, 1, all...)
}

func markAfterSuccess(t *testing.T, k Kind) {
	l, o := k.start(t)
	m := Message{"m", "k"}
	runs := 0
	o.Handle(t, func(Message) error {
		if runs++; runs < 3 {
			return errors.New("not yet")
		}
		return nil
	}, m)
	if runs != 3 {
		t.Errorf("%d runs, want 3", runs)
	}
	o.Handle(t, never(t), m)
	want(t, l, 1, m)
}

func doneEndsEveryCopy(t *testing.T, k Kind) {
	l, o := k.start(t)
	m := Message{"m", "k"}
	var failed atomic.Bool
	o.Handle(t, func(Message) error {
		if !failed.Swap(true) {
			return errors.New("once")
		}
		return nil
	}, m, m, m, m, m)
	want(t, l, 1, m)
}

func deadIsRemembered(t *testing.T, k Kind) {
	l, o := k.start(t)
	m := Message{"m", "k"}
	o.Handle(t, func(Message) error { return ErrDead }, m)
	o.Handle(t, never(t), m, m)
	want(t, l, 0, m)
}

func survive(t *testing.T, k Kind) {
	l, o := k.start(t)
	all := several(10)
	o.Handle(t, succeed, all...)
	o.Stop()
	next := l.Own(t)
	defer next.Stop()
	next.Handle(t, never(t), all...)
	want(t, l, 1, all...)
}

func aboveTheWatermark(t *testing.T, k Kind) {
	l, o := k.start(t)
	all := several(10)
	slow, rest := all[0], all[1:]
	stopped, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var owner sync.WaitGroup
	owner.Go(func() {
		o.Handle(t, func(m Message) error {
			if m == slow {
				once.Do(func() { close(reached) })
				<-stopped
				return errors.New("its owner has gone")
			}
			return nil
		}, slow)
	})
	<-reached
	o.Handle(t, succeed, rest...)
	go func() { // it waits for its handlers
		time.Sleep(100 * time.Millisecond)
		close(stopped)
	}()
	o.Stop()
	owner.Wait()
	next := l.Own(t)
	defer next.Stop()
	next.Handle(t, func(m Message) error {
		if m != slow {
			t.Errorf("the handler of %s has run again", m.ID)
		}
		return nil
	}, all...)
	want(t, l, 1, all...)
}

func manyAtOnce(t *testing.T, k Kind) {
	l, o := k.start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	all := several(50)
	var sent []Message
	for range 4 {
		sent = append(sent, all...)
	}
	rnd.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	o.Handle(t, succeed, sent...)
	want(t, l, 1, all...)
}

func fenced(t *testing.T, k Kind) {
	l, former := k.start(t)
	former.Handle(t, succeed, Message{"before", "k"})
	m := Message{"m", "k"}
	woken, frozen := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var zombie sync.WaitGroup
	zombie.Go(func() {
		former.Handle(t, func(Message) error {
			once.Do(func() { close(frozen) })
			<-woken
			return nil
		}, m)
	})
	<-frozen
	later := l.Own(t)
	defer later.Stop()
	later.Handle(t, succeed, Message{"other", "k"}) // it has not come to m
	close(woken)
	zombie.Wait()
	want(t, l, 0, m)
	later.Handle(t, succeed, m)
	want(t, l, 1, m)
}

func windowByTime(t *testing.T, k Kind) {
	l, o := k.start(t)
	m, other := Message{"m", "k"}, Message{"other", "k"}
	o.Handle(t, succeed, m)
	l.Pass(t, window/2)
	o.Handle(t, succeed, other)
	o.Handle(t, never(t), m)
	l.Pass(t, window)
	o.Handle(t, succeed, Message{"third", "k"})
	o.Handle(t, succeed, m)
	want(t, l, 2, m)
}

func windowBySize(t *testing.T, k Kind) {
	l := k.New(t, window, 20)
	o := l.Own(t)
	defer o.Stop()
	all := several(100)
	for _, m := range all {
		o.Handle(t, succeed, m)
	}
	o.Handle(t, never(t), all[90:]...)
	o.Handle(t, succeed, all[0])
	want(t, l, 2, all[0])
	want(t, l, 1, all[90:]...)
}
