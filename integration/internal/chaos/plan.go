// Package chaos runs chains of agents on a Kafka that is mistreated, and judges
// from the topics alone what became of each message.
//
// A run has workers, which are processes, and a load. Each message has a key
// and a sequence number in it; what it meets, a handler that fails, waits or
// gives up, is drawn from its ID, so that the judge knows its end without
// asking a worker.
package chaos

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"time"
)

// MessageID names a message by its key and its place in it.
type MessageID struct{ Key, Seq int }

// The width is fixed, so that an ID is found at the end of an encoded value.
const idLength = len("k0000-0000000")

// KeyName is the ordering key of all messages of a key.
func KeyName(key int) string { return fmt.Sprintf("k%04d", key) }

func (m MessageID) String() string { return fmt.Sprintf("%s-%07d", KeyName(m.Key), m.Seq) }

// ParseID reads what String wrote.
func ParseID(s string) (MessageID, bool) {
	if len(s) != idLength || s[0] != 'k' || s[5] != '-' {
		return MessageID{}, false
	}
	key, err1 := strconv.Atoi(s[1:5])
	seq, err2 := strconv.Atoi(s[6:])
	return MessageID{key, seq}, err1 == nil && err2 == nil
}

// Fate is what a message meets at one agent.
type Fate struct {
	Fails     int           // so many attempts fail, then one succeeds
	Exhausts  bool          // every attempt fails
	Permanent bool          // the first attempt gives up
	Waits     time.Duration // each attempt takes that long
}

// Dies says that the message ends as a dead letter.
func (f Fate) Dies() bool { return f.Exhausts || f.Permanent }

// Plan draws the fates of a run.
type Plan struct{ Seed uint64 }

// Fate of one message at one agent. In ten thousand messages 200 fail once, 50
// twice, 5 each time, 5 give up; 100 take up to 300 ms, and 1 takes 5 s.
func (p Plan) Fate(agent, id string) Fate {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %s", p.Seed, agent, id)
	sum := h.Sum64()
	var f Fate
	switch n := sum >> 8 % 10_000; {
	case n < 200:
		f.Fails = 1
	case n < 250:
		f.Fails = 2
	case n < 255:
		f.Exhausts = true
	case n < 260:
		f.Permanent = true
	}
	switch n := sum >> 32 % 10_000; {
	case n < 100:
		f.Waits = time.Duration(1+n*3) * time.Millisecond
	case n < 101:
		f.Waits = 5 * time.Second
	}
	return f
}
