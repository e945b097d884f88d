package streamtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Fault names one kind of trouble.
type Fault string

// The faults beside crashes.
const (
	FaultError     Fault = "error"     // the broker answers with an error
	FaultTimeout   Fault = "timeout"   // the broker writes, and its answer is lost
	FaultCut       Fault = "cut"       // all connections of a worker are cut
	FaultSlow      Fault = "slow"      // the link of a worker is slow
	FaultPartition Fault = "partition" // a worker is cut off for less than its session
	FaultZombie    Fault = "zombie"    // a worker is cut off until others own its partitions, and wakes
	FaultJoin      Fault = "join"      // one more worker joins
	FaultLeave     Fault = "leave"     // a worker drains and leaves, and comes back
	FaultClock     Fault = "clock"     // the clock of a worker jumps
	FaultDuplicate Fault = "duplicate" // an input message is sent again
	FaultMalformed Fault = "malformed" // an input record cannot be read
)

var allFaults = []Fault{
	FaultError, FaultTimeout, FaultCut, FaultSlow, FaultPartition, FaultZombie, FaultJoin, FaultLeave,
	FaultDuplicate, FaultMalformed,
}

// crash is a crash point armed for one worker.
type crash struct {
	step  Step
	after bool
	nth   int // the step that is counted from the worker's start
}

func (c crash) String() string {
	when := "before"
	if c.after {
		when = "after"
	}
	return fmt.Sprintf("%s %s", when, c.step)
}

// trouble is a fault at a time.
type trouble struct {
	at    time.Duration
	fault Fault
	slot  int // of all workers, counted through the agents
	last  time.Duration
}

// plan is the fault schedule of a seed.
type plan struct {
	seed     uint64
	crashes  map[int][]crash // by slot, in the order in which its processes take them
	troubles []trouble
}

func (p plan) String() string {
	var parts []string
	for slot := range 64 {
		for _, c := range p.crashes[slot] {
			parts = append(parts, fmt.Sprintf("w%d crashes %s #%d", slot, c, c.nth))
		}
	}
	for _, t := range p.troubles {
		parts = append(parts, fmt.Sprintf("%s w%d %s %s", t.at, t.slot, t.fault, t.last))
	}
	if len(parts) == 0 {
		return "no faults"
	}
	return strings.Join(parts, "; ")
}

// length is how long messages are sent and faults happen.
const length = 40 * time.Second

// minutely is how long it takes until a worker that has started with the
// simulation has made its checkpoint.
const minutely = 62 * time.Second

// lasts is how long the simulation goes on at least.
func (p plan) lasts() time.Duration {
	for _, crashes := range p.crashes {
		if crashes[0].step == StepCheckpoint || crashes[0].step == StepTrim {
			return minutely
		}
	}
	return 0
}

// newPlan draws a schedule for that many workers.
func newPlan(seed uint64, slots int, faults []Fault, exactlyOnce bool) plan {
	p := plan{seed: seed, crashes: make(map[int][]crash)}
	if len(faults) == 0 {
		return p
	}
	r := rand.New(rand.NewPCG(seed, 1))
	if r.IntN(12) == 0 {
		return p // a calm seed: nothing is forgiven
	}
	for range 2 + r.IntN(5) {
		step := steps[r.IntN(len(steps))]
		if step == StepEnd && !exactlyOnce {
			step = StepClaim
		}
		nth := 1 + r.IntN(20)
		switch step {
		case StepClaim, StepCheckpoint, StepTrim:
			nth = 1
		case StepRebuild:
			nth = 1 + r.IntN(8)
		case StepDead, StepRetry:
			nth = 1 + r.IntN(3)
		}
		slot := r.IntN(slots)
		p.crashes[slot] = append(p.crashes[slot], crash{step: step, after: r.IntN(2) == 0, nth: nth})
	}
	var drawn []Fault
	for _, f := range faults {
		if f != FaultDuplicate && f != FaultMalformed && (f != FaultZombie || exactlyOnce || r.IntN(3) == 0) {
			drawn = append(drawn, f)
		}
	}
	for range r.IntN(7) {
		t := trouble{
			at:    time.Duration(r.Int64N(int64(length))).Truncate(time.Millisecond),
			fault: drawn[r.IntN(len(drawn))],
			slot:  r.IntN(slots),
		}
		switch t.fault {
		case FaultPartition:
			t.last = time.Duration(500+r.IntN(3000)) * time.Millisecond
		case FaultZombie:
			t.last = time.Duration(16+r.IntN(10)) * time.Second
		case FaultSlow:
			t.last = time.Duration(1+r.IntN(8)) * time.Second
		case FaultLeave, FaultJoin:
			t.last = time.Duration(r.IntN(12_000)) * time.Millisecond
		case FaultClock:
			t.last = time.Duration(r.IntN(120)-60) * time.Second
		}
		p.troubles = append(p.troubles, t)
	}
	return p
}
