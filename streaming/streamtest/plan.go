package streamtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

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

// name is what its hits are counted under.
func (c crash) name(exactlyOnce bool) string {
	if exactlyOnce {
		return "exactly once: crash " + c.String()
	}
	return "at least once: crash " + c.String()
}

// stepsOf are the steps that workers of that mode take.
func stepsOf(exactlyOnce bool) []Step {
	if exactlyOnce {
		return steps
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s == StepEnd })
}

// trouble is a fault at a time.
type trouble struct {
	at    time.Duration
	fault Fault
	slot  int // of all workers, counted through the agents
	last  time.Duration
	kind  int // which error, lost answer or broker
	count int
}

// plan is the fault schedule of a seed.
type plan struct {
	seed        uint64
	length      time.Duration
	agents      []int // by slot
	exactlyOnce bool
	crashes     map[int][]crash // by slot, in the order in which its processes take them
	troubles    []trouble
}

func (p plan) String() string {
	var parts []string
	for slot := range 64 {
		for _, c := range p.crashes[slot] {
			parts = append(parts, fmt.Sprintf("w%d crashes %s #%d", slot, c, c.nth))
		}
	}
	for _, t := range p.troubles {
		what := string(t.fault)
		switch t.fault {
		case FaultError:
			what = errorsOf(p.exactlyOnce)[t.kind].String()
		case FaultTimeout:
			what = lostAnswer(writesOf(p.exactlyOnce)[t.kind])
		}
		parts = append(parts, fmt.Sprintf("%s w%d %s %s", t.at, t.slot, what, t.last))
	}
	if len(parts) == 0 {
		return "no faults"
	}
	return strings.Join(parts, "; ")
}

// calm says that nothing is forgiven.
func (p plan) calm() bool { return len(p.crashes) == 0 && len(p.troubles) == 0 }

// minutely is how long it takes until a worker that has started with the
// simulation has made its checkpoint.
const minutely = 63 * time.Second

// lasts is how long the simulation goes on at least.
func (p plan) lasts() time.Duration {
	for _, crashes := range p.crashes {
		if crashes[0].step == StepCheckpoint || crashes[0].step == StepTrim {
			return minutely
		}
	}
	return 0
}

// newPlan draws a schedule for workers, each of that agent.
func newPlan(seed uint64, agents []int, faults []Fault, length time.Duration, exactlyOnce bool) plan {
	slots := len(agents)
	p := plan{seed: seed, length: length, agents: agents, exactlyOnce: exactlyOnce, crashes: make(map[int][]crash)}
	if len(faults) == 0 {
		return p
	}
	r := rand.New(rand.NewPCG(seed, 1))
	if r.IntN(12) == 0 {
		return p // a calm seed
	}
	p.drawCrashes(r)
	var drawn []Fault
	for _, f := range faults {
		switch f {
		case FaultDuplicate, FaultMalformed, FaultError:
		case FaultZombie, FaultGhost: // at least once they weaken what is promised: less often there
			if exactlyOnce || r.IntN(3) == 0 {
				drawn = append(drawn, f)
			}
		default:
			drawn = append(drawn, f)
		}
	}
	if len(drawn) > 0 {
		for range r.IntN(8) {
			p.troubles = append(p.troubles, p.drawTrouble(r, drawn[r.IntN(len(drawn))], r.IntN(slots)))
		}
	}
	if slices.Contains(faults, FaultPause) && r.IntN(4) == 0 {
		p.troubles = append(p.troubles, p.drawTrouble(r, FaultPause, r.IntN(slots)))
	}
	if slices.Contains(faults, FaultTimeout) {
		for range r.IntN(3) {
			p.troubles = append(p.troubles, p.drawTrouble(r, FaultTimeout, r.IntN(slots)))
		}
	}
	if slices.Contains(faults, FaultError) {
		for range 2 + r.IntN(5) {
			p.troubles = append(p.troubles, p.drawTrouble(r, FaultError, r.IntN(slots)))
		}
	}
	return p
}

func (p *plan) drawCrashes(r *rand.Rand) {
	possible := append(slices.Clone(stepsOf(p.exactlyOnce)),
		StepBegun, StepBegun, StepResult, StepClaim, StepCheckpoint, StepTrim) // which are met less often
	slots := len(p.agents)
	for range 4 + r.IntN(5) {
		c := crash{step: possible[r.IntN(len(possible))], after: r.IntN(2) == 0}
		slot := r.IntN(slots)
		first := false
		switch c.step {
		case StepCheckpoint, StepTrim:
			c.nth, first = 1, true // only the first process lives long enough
		case StepClaim:
			c.nth = 1
		case StepRelease: // where it leaves
			c.nth, first = 1, true
			p.troubles = append(p.troubles, p.drawTrouble(r, FaultLeave, slot))
		case StepBegun: // where it takes over from one that has crashed
			c.nth, first = 1, true
			if other := p.neighbour(slot); len(p.crashes[other]) == 0 {
				p.crashes[other] = []crash{{step: StepMark, after: true, nth: 1 + r.IntN(10)}}
			}
		case StepResult:
			c.nth = 1 + r.IntN(5)
		case StepRebuild:
			c.nth = 1 + r.IntN(8)
		case StepDead, StepRetry:
			c.nth = 1 + r.IntN(3)
		default:
			c.nth = 1 + r.IntN(12)
		}
		if first {
			p.crashes[slot] = append([]crash{c}, p.crashes[slot]...)
		} else {
			p.crashes[slot] = append(p.crashes[slot], c)
		}
	}
}

// neighbour is another slot of the same agent, if it has one.
func (p *plan) neighbour(slot int) int {
	for i := 1; i < len(p.agents); i++ {
		if other := (slot + i) % len(p.agents); p.agents[other] == p.agents[slot] {
			return other
		}
	}
	return slot
}

func (p *plan) drawTrouble(r *rand.Rand, f Fault, slot int) trouble {
	t := trouble{
		at:    time.Duration(r.Int64N(int64(p.length))).Truncate(time.Microsecond),
		fault: f, slot: slot, count: 1 + r.IntN(4),
	}
	switch f {
	case FaultError:
		t.kind = r.IntN(len(brokerErrors))
		if p.exactlyOnce && r.IntN(3) > 0 {
			t.kind = len(brokerErrors) + r.IntN(len(transactionErrors))
		}
	case FaultTimeout:
		t.kind = r.IntN(len(writesOf(p.exactlyOnce)))
	case FaultPartition, FaultBroker, FaultDeaf, FaultMute:
		t.kind = r.IntN(brokers)
		t.last = time.Duration(500+r.IntN(3000)) * time.Millisecond
	case FaultZombie, FaultGhost:
		t.last = time.Duration(16+r.IntN(10)) * time.Second
	case FaultPause:
		t.last = time.Duration(3000+r.IntN(6000)) * time.Millisecond
	case FaultSlow:
		t.last = time.Duration(1+r.IntN(8)) * time.Second
	case FaultLeave, FaultJoin:
		t.last = time.Duration(r.IntN(12_000)) * time.Millisecond
	case FaultClock:
		t.last = time.Duration(r.IntN(120_000)-60_000) * time.Millisecond
	}
	return t
}
