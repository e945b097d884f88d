// Package lane is the state machine of one owned input partition: which copies
// of which messages are live, which of them may be handled now, and how far
// each log may be committed. It does no I/O and reads no clock: whoever drives
// it reports what was read and what was acknowledged, and does what Next says.
//
// A copy is one record of a message. The input record is the copy with 0
// moves; each append to a retry or dead-letter topic makes one with one move
// more. The origin, an offset in the input partition, is the same for all
// copies of a record. A fact is what an acknowledged record says.
package lane

import (
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Log numbers the logs of a lane: 0 is the input partition, 1 to n its retry
// tiers in the order of their delays. A lane that holds the keys of dead letters
// has two more: the hold log and the dead-letter log.
type Log int

// Input is the log of the input partition.
const Input Log = 0

// Copy is one record of a message, as the lane knows it.
type Copy struct {
	Log      Log
	Offset   int64
	Key      string // copies of one key are handled in the order of their origins
	ID       streaming.MessageID
	Origin   int64
	Moves    int
	Attempts int       // handler attempts so far
	Due      time.Time // not before; zero means at once
	Barrier  bool      // an input record that is handled only when all before it are settled
	// Scheduled is a copy that was never tried and has a due time: it takes its
	// place in its key when it is due, not before. On the input log it waits in
	// tier Wait meanwhile, or where it is if that is Input.
	Scheduled bool
	Wait      Log
	state     state
	overtaken bool // started when an older one of its key was taken for done
	Payload   any  // the driver's; nil while the value is not in memory
	Size      int  // bytes of the payload

	queue *queue // of its key; nil while it has no place there
	twin  *Copy  // the next live copy of its message; nil: there is none
}

type state uint8

const (
	waiting state = iota // live, nothing under way
	loading              // its value is being fetched
	busy                 // started, settlement not yet acknowledged
	staged               // likewise, and in no queue any more: the next of its key may start
	moving               // append to a tier, behind a blocker or to wait there, not yet acknowledged
	ended
)

// Action is what Next asks its driver to do with a copy.
type Action uint8

// The actions.
const (
	None  Action = iota
	Run          // handle it, then report Done, Dead, Moved or Later
	Drop         // an acknowledged fact has ended it: count it; it is settled already
	Defer        // append it to Decision.Tier, if it is scheduled with its due time, else without; then report Moved
	Load         // its value is needed: fetch it, then report Loaded
)

// Decision is one thing to do.
type Decision struct {
	Action Action
	Copy   *Copy
	Tier   Log       // for Defer: that of the oldest blocker, or the one to wait in
	Again  bool      // for Drop: the copy's own record was settled before (not a duplicate message)
	Since  time.Time // for Run of a copy that has a due time: the later of that and its key being free
}

// Facts is the memory of settled messages: what the ledger says.
type Facts interface {
	// Settled reports the fact known for a message.
	Settled(id streaming.MessageID) (Fact, bool)
	// Settle remembers a fact. A later one for the same message replaces it,
	// except that done stays done.
	Settle(id streaming.MessageID, f Fact)
}

// Fact is what an acknowledged mark or dead letter says of a message.
type Fact struct {
	Done   bool  // ends every copy; otherwise the message is dead
	Moves  int   // dead: ends the copies with moves up to this
	Origin int64 // of the record that settled it
}

// Machine is the state of one lane. It is not safe for concurrent use.
type Machine struct {
	facts  Facts
	logs   []offsets
	hold   Log // Input: keys of dead letters go on
	dead   Log
	queues map[string]*queue
	spare  []*queue                      // to be used again
	live   map[streaming.MessageID]*Copy // one of each message's live copies
	unread []*queue                      // queues whose head waits for the input log to be read past its origin
	fence  []*Copy                       // barriers not yet settled
	ready  fifo[*queue]                  // queues to look at
	idle   fifo[*queue]                  // queues whose head may run as soon as the driver has room
	out    fifo[Decision]                // decided, not yet fetched by Next
	timers timers
	new    fifo[*Copy] // scheduled copies to look at
	opened bool
	count  int
	inHand int                        // values in memory for copies in tiers
	bytes  struct{ input, tiers int } // of payloads in memory
}

// New returns a closed machine with that many retry tiers. Recall what the
// logs say, then Open it.
func New(tiers int, facts Facts) *Machine {
	return &Machine{
		facts:  facts,
		logs:   make([]offsets, tiers+1),
		queues: make(map[string]*queue),
		live:   make(map[streaming.MessageID]*Copy),
	}
}

// Open sets where each log will be read from and lets Next hand out work. The
// input log is at the committed offset; so is each tier, whose copies between
// there and its end have been recalled before.
func (m *Machine) Open(positions []int64) {
	for i := range m.logs {
		m.logs[i].next = positions[i]
		m.logs[i].trim()
	}
	m.opened = true
	for _, c := range m.new.all() {
		if drop, again := m.over(c); drop && c.state != ended {
			m.drop(c, again)
		}
	}
	for _, q := range m.queues {
		for _, c := range slices.Clone(q.copies) {
			if drop, again := m.over(c); drop {
				m.drop(c, again)
			}
		}
		m.wake(q)
	}
}

// RecallCopy tells of a copy found in a tier before the lane was opened.
func (m *Machine) RecallCopy(c *Copy) { m.add(c) }

// RecallFact tells of a mark or a dead letter found before the lane was opened.
func (m *Machine) RecallFact(id streaming.MessageID, f Fact) { m.facts.Settle(id, f) }

// Read tells that a record was read: in offset order for each log. It returns
// the copy that the machine keeps, or nil when the record is settled already. A
// tier copy that was known before only takes the payload.
func (m *Machine) Read(c *Copy) *Copy {
	log := &m.logs[c.Log]
	if c.Offset < log.next {
		if known, _ := log.find(c.Offset); known != nil {
			m.Loaded(known, c.Payload)
			return known
		}
		return nil
	}
	known, before := log.find(c.Offset)
	log.next = c.Offset + 1
	if c.Log == Input {
		m.wakeUnread()
	}
	switch {
	case !before:
		m.add(c)
		return c
	case known == nil: // ended
		log.trim()
		return nil
	default:
		m.Loaded(known, c.Payload)
		return known
	}
}

// Loaded gives a copy its payload; nil changes nothing.
func (m *Machine) Loaded(c *Copy, payload any) {
	if payload == nil || c.state == ended {
		return
	}
	if c.state == loading {
		c.state = waiting
	}
	m.take(c, payload)
	m.wakeCopy(c)
}

// Pass tells that the input record at that offset needs no handling: it is
// settled by being read.
func (m *Machine) Pass(log Log, offset int64) {
	l := &m.logs[log]
	if offset >= l.next {
		l.next = offset + 1
	}
	if log == Input {
		m.wakeUnread()
		m.wakeFence()
	}
}

// Done tells that the mark of a message done is acknowledged.
func (m *Machine) Done(c *Copy) {
	m.facts.Settle(c.ID, Fact{Done: true, Origin: c.Origin})
	m.end(c)
}

// Skip tells that c, which Next has said to run, needs no handling: it is settled by
// having been read, and no fact says so.
func (m *Machine) Skip(c *Copy) { m.end(c) }

// Dead tells that the dead letter and its mark are acknowledged. The dead
// letter is the copy with one move more.
func (m *Machine) Dead(c *Copy) {
	m.facts.Settle(c.ID, Fact{Moves: c.Moves + 1, Origin: c.Origin})
	m.end(c)
}

// Moved tells that the next copy of c is acknowledged in a tier. The append is
// the mark: the copy with more moves supersedes c.
func (m *Machine) Moved(c, next *Copy) {
	log := &m.logs[next.Log]
	switch known, before := log.find(next.Offset); {
	case before: // the tail of the tier was faster than the acknowledgement
		if known != nil {
			m.take(known, next.Payload)
		}
	case next.Offset >= log.next:
		m.add(next)
	}
	m.end(c)
}

// Later tells that c is to be looked at again at that time, or when it is due if
// that is later, without an append: it stays where it is and holds its log's
// watermark.
func (m *Machine) Later(c *Copy, due time.Time) {
	c.Due = later(c.Due, due)
	m.free(c)
}

// GiveBack tells that c was not handled after all.
func (m *Machine) GiveBack(c *Copy) { m.free(c) }

func (m *Machine) take(c *Copy, payload any) {
	if c.Payload == nil && payload != nil {
		c.Payload = payload
		m.weigh(c, 1)
	}
}

// Unload drops the payload of a copy in a tier that others of its key stand
// before, and reports whether it did: it is asked for again in its turn.
func (m *Machine) Unload(c *Copy) bool {
	if c.Log == Input || c.state != waiting || c.Payload == nil || c.queue == nil || c.queue.copies[0] == c {
		return false
	}
	m.weigh(c, -1)
	c.Payload = nil
	return true
}

// weigh counts a copy's payload in (1) or out (-1).
func (m *Machine) weigh(c *Copy, by int) {
	if c.Log == Input {
		m.bytes.input += by * c.Size
		return
	}
	m.inHand += by
	m.bytes.tiers += by * c.Size
}

func (m *Machine) add(c *Copy) {
	m.logs[c.Log].add(c)
	m.count++
	if c.Payload != nil {
		m.weigh(c, 1)
	}
	m.meet(c)
	if c.Scheduled {
		m.new.push(c)
		return
	}
	m.place(c)
}

// place gives a copy its place in its key, by origin.
func (m *Machine) place(c *Copy) *queue {
	q := m.queues[c.Key]
	if q == nil {
		q = m.newQueue(c.Key)
		m.queues[c.Key] = q
	}
	c.queue = q
	q.insert(c)
	if c.Barrier {
		m.fence = append(m.fence, c)
	}
	m.wake(q)
	return q
}

// end settles a copy: its record may be passed by the watermark.
func (m *Machine) end(c *Copy) {
	if c.state == staged {
		m.wakeTwins(c)
	} else {
		m.free(c)
	}
	c.state = ended
	m.count--
	if c.Payload != nil {
		m.weigh(c, -1)
	}
	m.logs[c.Log].settled(c)
	m.part(c)
	if c.queue != nil {
		m.leave(c)
	}
	if c.Barrier {
		m.fence = slices.DeleteFunc(m.fence, func(f *Copy) bool { return f == c })
	}
	if c.Log == Input {
		m.wakeFence()
	}
}

// leave takes a copy out of its key.
func (m *Machine) leave(c *Copy) {
	q := c.queue
	q.remove(c)
	c.queue = nil
	if len(q.copies) == 0 && q.busy == 0 {
		delete(m.queues, q.key)
		if len(m.spare) < maxSpare {
			m.spare = append(m.spare, q)
		}
	}
}

// maxSpare bounds the queues that are kept to be used again.
const maxSpare = 1024

// newQueue returns an empty queue. One that is used again may still stand in
// some list, as its flags and its timer say: it is looked at once more than needed.
func (m *Machine) newQueue(key string) *queue {
	n := len(m.spare)
	if n == 0 {
		return &queue{key: key}
	}
	q := m.spare[n-1]
	m.spare = m.spare[:n-1]
	q.key, q.free = key, time.Time{}
	return q
}

// free ends what was under way for a copy and lets its key go on.
func (m *Machine) free(c *Copy) {
	if c.state == busy {
		c.queue.busy--
		m.wakeTwins(c)
	}
	c.state, c.overtaken = waiting, false
	m.wakeCopy(c)
}

// wakeCopy has a copy looked at: with its key, or alone where it has no place
// there yet.
func (m *Machine) wakeCopy(c *Copy) {
	if c.queue == nil {
		m.new.push(c)
		return
	}
	m.wake(c.queue)
}

func (m *Machine) wake(q *queue) {
	if q != nil && !q.queued {
		q.queued = true
		m.ready.push(q)
	}
}

func (m *Machine) wakeUnread() {
	for _, q := range m.unread {
		m.wake(q)
	}
	m.unread = m.unread[:0]
}

func (m *Machine) wakeFence() {
	for _, c := range m.fence {
		m.wake(c.queue)
	}
}
