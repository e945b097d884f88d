package streamtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// inject lets the plan's troubles happen.
func (m *simulator) inject() {
	var all sync.WaitGroup
	var mu sync.Mutex
	var undo []func()
	slots := m.slots
	for _, t := range m.plan.troubles {
		all.Go(func() {
			time.Sleep(t.at)
			if t.fault != FaultError {
				m.happen(t, slots[t.slot])
				return
			}
			e := errorsOf(m.plan.exactlyOnce)[t.kind]
			m.history.note("%s, %d times", e, t.count)
			h := m.fake.Fault(kfake.Fault{Keys: []kmsg.Key{e.key}, Err: e.err, Count: t.count, When: e.concerns})
			mu.Lock()
			defer mu.Unlock()
			undo = append(undo, func() {
				if h.Hits() > 0 {
					m.history.hit(e.String())
				}
				h.Remove()
			})
		})
	}
	all.Wait()
	time.Sleep(m.plan.lasts() - time.Since(m.history.begin))
	for _, f := range undo {
		f()
	}
}

// happen lets a trouble happen to the process of a slot, if there is one now.
func (m *simulator) happen(t trouble, s *slot) {
	switch t.fault {
	case FaultJoin:
		m.join(t, s)
		return
	case FaultPause:
		m.pause(s.agent, t.last)
		return
	case FaultRedrive:
		m.redrive(s.agent, t.at)
		return
	case FaultLeaders, FaultCoords:
		m.elect(t)
		return
	}
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	if p == nil {
		return
	}
	if t.fault == FaultTimeout {
		p.loss.Store(int32(writesOf(m.plan.exactlyOnce)[t.kind]))
		return
	}
	m.history.hit(string(t.fault))
	m.history.note("%s: %s %s", p.name, t.fault, t.last)
	switch t.fault {
	case FaultCut:
		p.link.cut()
	case FaultSlow:
		p.link.slowDown(time.Duration(100+m.seed%5*100) * time.Millisecond)
		time.Sleep(t.last)
		p.link.slowDown(0)
	case FaultPartition:
		p.suffer(outage{broker: everyBroker, up: true, down: true}, t.last)
	case FaultBroker:
		p.suffer(outage{broker: t.kind, up: true, down: true}, t.last)
	case FaultDeaf:
		p.suffer(outage{broker: everyBroker, down: true}, t.last)
	case FaultMute:
		p.suffer(outage{broker: everyBroker, up: true}, t.last)
	case FaultZombie:
		p.suffer(outage{broker: everyBroker, up: true, down: true}, t.last)
	case FaultGhost:
		p.suffer(outage{broker: int(m.fake.CoordinatorFor(s.agent.cfg.Group)), up: true, down: true}, t.last)
	case FaultLeave:
		p.left.Store(true)
		p.cancel()
		time.Sleep(t.last)
		s.follow(p)
	case FaultClock:
		s.agent.mu.Lock()
		s.agent.skewed = true
		s.agent.mu.Unlock()
		p.clock.ahead.Store(int64(t.last))
	}
}

// suffer lets an outage last for that time.
func (p *process) suffer(o outage, last time.Duration) {
	end := p.link.suffer(o)
	time.Sleep(last)
	p.slot.m.history.note("%s: healed", p.name)
	end()
}

// takenOver notes that a worker that was alive has been at work beside the new owner.
func (m *simulator) takenOver(a *agent) {
	a.mu.Lock()
	known := a.takeover
	a.takeover = true
	a.mu.Unlock()
	if known {
		return
	}
	m.history.note("two workers of %s are at work on one partition", a.cfg.Agent)
	if !a.cfg.ExactlyOnce {
		m.history.hit(weakened)
	}
}

// weakened counts agents at least once around whose takeovers less is promised.
const weakened = "at least once: promise weakened by a takeover"

// elect gives partitions other leaders, or groups and transactions other
// coordinators.
func (m *simulator) elect(t trouble) {
	m.history.hit(string(t.fault))
	m.history.note("%s", t.fault)
	if t.fault == FaultCoords {
		m.fake.RehashCoordinators()
		return
	}
	topics, err := m.log.Topics(context.Background(), "")
	if err != nil {
		m.history.note("%s: %v", t.fault, err)
		return
	}
	var names []string
	for topic := range topics {
		names = append(names, topic)
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(m.seed, uint64(t.at)))
	for _, topic := range names {
		for p := range topics[topic] {
			if r.IntN(2) == 0 {
				_ = m.fake.MoveTopicPartition(topic, p, int32(r.IntN(brokers))) // it exists
			}
		}
	}
}

// follow starts a process once that one has gone; another fault may have done so.
func (s *slot) follow(p *process) {
	for {
		s.mu.Lock()
		gone := s.process != p
		s.mu.Unlock()
		if gone {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.start()
}

// join lets one more worker of an agent work for a while.
func (m *simulator) join(t trouble, like *slot) {
	m.history.hit(string(t.fault))
	m.mu.Lock()
	s := &slot{m: m, agent: like.agent, number: len(m.slots), name: fmt.Sprintf("%s-j%d", like.agent.cfg.Agent, len(m.slots))}
	m.slots = append(m.slots, s)
	m.mu.Unlock()
	s.start()
	time.Sleep(5*time.Second + t.last)
	s.end()
}
