package lane_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "replay this seed only")
	stepsFlag = flag.Int("steps", 1_000_000, "steps of the random test, all seeds together")
)

// world is the durable part of one lane, and one owner that may crash between
// any two durable steps. The owner does what the machine says; the checks are on
// what becomes durable and on what handlers were started.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	trace []string
	now   time.Time

	input     []message
	tiers     [][]record
	dead      []record
	marks     []mark
	committed []int64
	fails     map[streaming.MessageID]int // attempts that fail before one succeeds

	lastRun map[string]int64 // highest origin started, per key
	o       *owner
	crashes int

	unordered  bool
	atomic     bool             // exactly once: what is done is staged, and the next of its key may start
	lastEnd    map[string]int64 // atomic: highest origin done, per key
	refusals   int
	hold       bool                        // a dead letter holds its key: tiers has the hold log, dead is a log of the machine
	noneAt     time.Time                   // when the machine had nothing to do last
	noneRead   int64                       // the input that it had read by then
	noneMoving map[streaming.MessageID]int // and what was moving

	redrives int
	discards int
	carries  int
	revived  map[int64]bool // origins of what was redriven: younger ones of the key may have gone before
}

type message struct {
	key string
	id  streaming.MessageID
	at  time.Time // scheduled
}

type record struct {
	message
	origin          int64
	moves, attempts int
	due             time.Time
	redriven        bool // a dead letter that has a next copy
	noted           bool // and a note says so, or that it is discarded
	discarded       bool
}

type mark struct {
	id     streaming.MessageID
	done   bool
	moves  int
	origin int64
}

// owner is what a crash takes away.
type owner struct {
	m       *lane.Machine
	read    []int64
	running []*lane.Copy
	moving  map[streaming.MessageID]int // appends of next copies that are not acknowledged
	writes  []write
	acks    []func()
}

// write becomes durable, and is acknowledged later.
type write struct {
	commit func() (ack func())
	done   *lane.Copy // what it makes done; nil: it is of another kind
	staged bool       // and the machine has been told that it is staged
}

func (o *owner) write(commit func() func()) { o.writes = append(o.writes, write{commit: commit}) }

const (
	tiers    = 2
	attempts = 4
	holdAt   = tiers + 1 // the hold log
	deadAt   = tiers + 2
)

func (w *world) start() {
	facts := memory{}
	m := lane.New(tiers, facts)
	if w.hold {
		m = lane.NewHolding(tiers, facts)
		for off := w.committed[deadAt]; off < int64(len(w.dead)); off++ {
			m.RecallCopy(w.copy(w.dead[off], deadAt, off, nil))
		}
		for off, d := range w.dead {
			if d.noted {
				m.Release(int64(off))
			}
		}
	}
	for _, mk := range w.marks {
		m.RecallFact(mk.id, lane.Fact{Done: mk.done, Moves: mk.moves, Origin: mk.origin})
	}
	for i, tier := range w.tiers {
		for off := w.committed[i+1]; off < int64(len(tier)); off++ {
			m.RecallCopy(w.copy(tier[off], lane.Log(i+1), off, nil))
		}
	}
	for _, d := range w.dead {
		m.RecallFact(d.id, lane.Fact{Moves: d.moves, Origin: d.origin})
	}
	w.noneAt = time.Time{}
	if w.atomic {
		w.lastRun = maps.Clone(w.lastEnd)
	}
	w.o = &owner{m: m, moving: map[streaming.MessageID]int{}, read: append([]int64(nil), w.committed...)}
	m.Open(append([]int64(nil), w.committed...))
}

func (w *world) copy(r record, log lane.Log, off int64, payload any) *lane.Copy {
	c := &lane.Copy{Log: log, Offset: off, Key: r.key, ID: r.id, Origin: r.origin, Moves: r.moves, Attempts: r.attempts, Due: r.due, Payload: payload}
	if w.unordered {
		c.Key = string(r.id[:])
	}
	if log == lane.Input && r.at.After(w.now) {
		c.Due = r.at
		c.Wait = lane.Log(min(int(r.at.Sub(w.now)/time.Second), tiers))
	}
	c.Scheduled = c.Attempts == 0 && !c.Due.IsZero()
	return c
}

type memory map[streaming.MessageID]lane.Fact

func (f memory) Settled(id streaming.MessageID) (lane.Fact, bool) { v, ok := f[id]; return v, ok }
func (f memory) Settle(id streaming.MessageID, v lane.Fact) {
	if known, ok := f[id]; ok && (known.Done || !v.Done && known.Moves >= v.Moves) {
		return
	}
	f[id] = v
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) step() {
	o := w.o
	switch n := w.rnd.IntN(100); {
	case n < 30: // read one record of a log
		log := w.rnd.IntN(len(w.committed))
		off := o.read[log]
		if log == deadAt {
			if off < int64(len(w.dead)) {
				o.m.Read(w.copy(w.dead[off], deadAt, off, nil))
				o.read[log]++
			}
			return
		}
		if log == 0 && off < int64(len(w.input)) {
			msg := w.input[off]
			o.m.Read(w.copy(record{message: msg, origin: off}, lane.Input, off, off))
			o.read[0]++
		}
		if log > 0 && off < int64(len(w.tiers[log-1])) {
			var payload any = off
			if w.rnd.IntN(3) == 0 {
				payload = nil // no room in memory
			}
			o.m.Read(w.copy(w.tiers[log-1][off], lane.Log(log), off, payload))
			o.read[log]++
		}
	case n < 60:
		w.decide()
	case n < 75: // a handler ends
		if len(o.running) > 0 {
			i := w.rnd.IntN(len(o.running))
			c := o.running[i]
			o.running = append(o.running[:i], o.running[i+1:]...)
			w.finish(c)
		}
	case n < 85: // a write becomes durable; writes to one log keep their order, as one queue they all do
		if len(o.writes) > 0 {
			first := o.writes[0]
			o.writes = o.writes[1:]
			if first.staged && w.refusals > 0 && w.rnd.IntN(4) == 0 {
				w.refuse(first.done)
				return
			}
			o.acks = append(o.acks, first.commit())
		}
	case n < 93:
		if len(o.acks) > 0 {
			ack := o.acks[0]
			o.acks = o.acks[1:]
			ack()
		}
	case n < 96:
		for i := range w.committed {
			at := o.m.Watermark(lane.Log(i))
			if at < w.committed[i] {
				w.fail("watermark of log %d went back from %d to %d", i, w.committed[i], at)
			}
			w.committed[i] = at
		}
	case n < 99:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(3000)) * time.Millisecond)
	default:
		if len(w.dead) > 0 && w.redrives > 0 && w.rnd.IntN(2) == 0 {
			w.redrive(w.rnd.IntN(len(w.dead)))
		}
		w.letGo()
		w.carry()
		if w.crashes > 0 && w.rnd.IntN(2) == 0 {
			w.crashes--
			w.say("crash")
			w.start()
		}
	}
}

func (w *world) decide() {
	room := len(w.o.running) < 3
	d := w.o.m.Next(w.now, room)
	c := d.Copy
	switch d.Action {
	case lane.None:
		if room {
			w.noneAt, w.noneRead, w.noneMoving = w.now, w.o.read[0], maps.Clone(w.o.moving)
		}
	case lane.Run:
		if c.Overtaken() { // between the decision and now
			w.undone(c)
			return
		}
		w.say("run %s/%d of %s, log %d at %d", name(c), c.Moves, c.Key, c.Log, c.Offset)
		if c.Due.After(w.now) {
			w.fail("%s is handled before it is due", name(c))
		}
		if w.input[c.Origin].at.After(w.now) {
			w.fail("%s is handled before its time", name(c))
		}
		if !d.Since.IsZero() && (d.Since.Before(c.Due) || d.Since.After(w.now)) {
			w.fail("%s could have run since %s", name(c), d.Since)
		}
		w.checkScheduled(c)
		w.checkHeld(c)
		if c.Origin < w.lastRun[c.Key] && !w.revived[c.Origin] && w.input[c.Origin].at.IsZero() {
			w.fail("key %s: origin %d is started after %d", c.Key, c.Origin, w.lastRun[c.Key])
		}
		for _, r := range w.o.running {
			if r.Key == c.Key || r.ID == c.ID {
				w.fail("%s and %s run at once", name(r), name(c))
			}
		}
		w.lastRun[c.Key] = max(w.lastRun[c.Key], c.Origin)
		w.o.running = append(w.o.running, c)
	case lane.Drop:
		w.say("drop %s/%d log %d at %d", name(c), c.Moves, c.Log, c.Offset)
		if !w.endedByFact(c) {
			w.fail("%s/%d is dropped without a fact", name(c), c.Moves)
		}
	case lane.Defer:
		w.say("defer %s/%d behind tier %d", name(c), c.Moves, d.Tier)
		due := time.Time{}
		if c.Scheduled {
			due = c.Due
		}
		w.move(c, d.Tier, c.Attempts, due)
	case lane.Load:
		o := w.o
		o.acks = append(o.acks, func() { o.m.Loaded(c, c.Offset) })
	}
}

func (w *world) finish(c *lane.Copy) {
	if c.Attempts >= w.fails[c.ID] {
		w.done(c)
		return
	}
	w.failed(c)
}

func (w *world) failed(c *lane.Copy) {
	o := w.o
	if c.Attempts+1 < attempts {
		if w.rnd.IntN(5) == 0 {
			o.m.GiveBack(c)
			return
		}
		tier := min(c.Attempts+1, tiers)
		w.move(c, lane.Log(tier), c.Attempts+1, w.now.Add(time.Duration(tier)*time.Second))
		return
	}
	o.write(func() func() {
		w.say("dead letter of %s", name(c))
		w.dead = append(w.dead, record{message: w.input[c.Origin], origin: c.Origin, moves: c.Moves + 1})
		return func() {
			o.write(func() func() {
				w.marks = append(w.marks, mark{id: c.ID, moves: c.Moves + 1, origin: c.Origin})
				return func() {
					if !w.hold {
						o.m.Dead(c)
						return
					}
					off := int64(len(w.dead) - 1)
					for w.dead[off].id != c.ID || w.dead[off].moves != c.Moves+1 {
						off--
					}
					o.m.DeadHeld(c, w.copy(w.dead[off], deadAt, off, nil))
				}
			})
		}
	})
}

func (w *world) move(c *lane.Copy, tier lane.Log, tried int, due time.Time) {
	o := w.o
	o.moving[c.ID]++
	o.write(func() func() {
		r := record{message: w.input[c.Origin], origin: c.Origin, moves: c.Moves + 1, attempts: tried, due: due}
		off := int64(len(w.tiers[tier-1]))
		w.tiers[tier-1] = append(w.tiers[tier-1], r)
		w.say("append %s/%d to tier %d at %d", name(c), r.moves, tier, off)
		return func() {
			o.moving[c.ID]--
			var payload any
			if w.rnd.IntN(3) > 0 {
				payload = off
			}
			o.m.Moved(c, w.copy(r, tier, off, payload))
		}
	})
}

// drain runs without crashes until nothing is left, and checks the end.
func (w *world) drain() {
	w.crashes, w.discards = 0, 1<<30
	for range 200_000 {
		w.step()
		if w.o.m.Live() == 0 && w.readAll() && len(w.o.writes)+len(w.o.acks)+len(w.o.running) == 0 {
			w.check()
			return
		}
	}
	w.fail("it does not come to an end: %d live", w.o.m.Live())
}

func (w *world) readAll() bool {
	all := w.o.read[0] == int64(len(w.input))
	for i, tier := range w.tiers {
		all = all && w.o.read[i+1] == int64(len(tier))
	}
	return all && (!w.hold || w.o.read[deadAt] == int64(len(w.dead)))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	tail := w.trace
	if len(tail) > 60 {
		tail = tail[len(tail)-60:]
	}
	for _, line := range tail {
		w.t.Log(line)
	}
	w.t.Fatalf(format, args...)
}

func name(c *lane.Copy) string { return fmt.Sprintf("%x", c.ID[:2]) }

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1000, 0),
		tiers: make([][]record, tiers), committed: make([]int64, tiers+1),
		fails: map[streaming.MessageID]int{}, lastRun: map[string]int64{}, crashes: 4,
		redrives: 6, revived: map[int64]bool{}, discards: 2, lastEnd: map[string]int64{}, refusals: 4,
	}
	w.atomic = w.rnd.IntN(2) == 0
	w.unordered = w.rnd.IntN(4) == 0
	if w.hold = !w.unordered && w.rnd.IntN(3) == 0; w.hold {
		w.tiers = append(w.tiers, nil)
		w.committed = append(w.committed, 0, 0)
	}
	keys := 1 + w.rnd.IntN(3)
	for i := range 2 + w.rnd.IntN(12) {
		if i > 0 && w.rnd.IntN(5) == 0 { // a duplicate of an earlier one
			w.input = append(w.input, w.input[w.rnd.IntN(i)])
			continue
		}
		id := streaming.HashID("s", fmt.Sprint(i))
		msg := message{key: fmt.Sprintf("k%d", w.rnd.IntN(keys)), id: id}
		if w.rnd.IntN(5) == 0 {
			msg.at = w.now.Add(time.Duration(w.rnd.IntN(20_000)) * time.Millisecond)
		}
		w.input = append(w.input, msg)
		if w.rnd.IntN(2) == 0 {
			w.fails[id] = w.rnd.IntN(attempts + 1)
		}
	}
	w.start()
	return w
}

func TestModelHoldsUnderCrashes(t *testing.T) {
	first := *seedFlag
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	t.Logf("first seed %d; replay one with -seed", first)
	for steps, seed := 0, first; steps < *stepsFlag; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 400 {
				w.step()
			}
			steps += 400
			w.drain()
		})
		if *seedFlag != 0 || t.Failed() {
			return
		}
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}
