package streamtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// errDead is what goes on in a process that is dead already.
var errDead = errors.New("simulation: the process is dead")

// slot is a place where one process of an agent runs at a time. Who crashed or
// gave up is replaced, as a supervisor does it.
type slot struct {
	m      *simulator
	agent  *agent
	number int
	name   string

	mu      sync.Mutex
	armed   []crash
	process *process
	starts  int
	ended   bool // no process is started any more
	calmed  bool // no crash any more
}

// process is one process of a worker.
type process struct {
	slot   *slot
	name   string
	link   *link
	cancel context.CancelFunc
	dead   atomic.Bool
	left   atomic.Bool  // drained on purpose
	loss   atomic.Int32 // the answer to its next write of that API key is to be lost
	clock  *clock
	crash  *crash

	mu    sync.Mutex
	taken map[Step]int
}

// thrownOut counts members that were alive and too slow for their group.
const thrownOut = "member thrown out"

// noLoss is no API key.
const noLoss = -1

// start starts a process unless one runs.
func (s *slot) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.process != nil {
		return
	}
	s.starts++
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{
		slot: s, name: fmt.Sprintf("%s.%d", s.name, s.starts), link: newLink(s.m.network.DialContext),
		cancel: cancel, clock: &clock{}, taken: make(map[Step]int),
	}
	p.loss.Store(noLoss)
	if len(s.armed) > 0 && !s.calmed {
		p.crash, s.armed = &s.armed[0], s.armed[1:]
	}
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(s.m.seed, uint64(1000*s.number+s.starts)))
	p.link.latency = func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(r.IntN(2000)) * time.Microsecond
	}
	p.link.request = p.request
	s.process = p
	s.m.history.note("%s starts", p.name)
	s.m.background.Go(func() { p.run(ctx) })
}

// run runs the worker and sees to its successor.
func (p *process) run(ctx context.Context) {
	s := p.slot
	cluster := *s.m.cluster
	cluster.Dialer = p.link.Dial
	cfg, err := s.m.configure(s.agent, &cluster)
	if err == nil {
		cfg.Instance, cfg.Clock = s.name, p.clock
		cfg.Kafka.ClientID = p.name
		cfg.Logger = slog.New(&logs{history: s.m.history, process: p.name, level: slog.LevelDebug})
		cfg.Kafka.Logger = slog.New(&logs{history: s.m.history, process: p.name, level: slog.LevelInfo})
		handlers := make(map[string]streaming.Handler)
		for t, h := range cfg.Handlers {
			handlers[t] = watch(h, p)
		}
		cfg.Handlers = handlers
		var w *worker.Worker
		if w, err = worker.New(cfg); err == nil {
			err = w.Run(ctx)
		}
	}
	p.cancel()
	if !p.dead.Load() {
		if err != nil && !errors.Is(err, context.Canceled) { // one that is told to stop while it starts says so
			s.m.history.hit("gave up")
			s.m.history.note("%s gives up: %v", p.name, err)
		} else {
			s.m.history.note("%s has left", p.name)
		}
		p.link.kill()
		s.replace(p, time.Second)
	}
	p.link.running.Wait()
}

// replace starts a successor after a while.
func (s *slot) replace(p *process, after time.Duration) {
	s.mu.Lock()
	if s.process == p {
		s.process = nil
	}
	calmed := s.calmed
	s.mu.Unlock()
	if p.left.Load() && !calmed {
		return // who made it leave brings it back
	}
	s.m.background.Go(func() {
		select {
		case <-time.After(after):
			s.start()
		case <-s.m.closing:
		}
	})
}

// die ends the process at once: nothing of it reaches the broker any more.
func (p *process) die(what string) {
	if p.dead.Swap(true) {
		return
	}
	p.slot.m.history.hit(what)
	p.slot.m.history.note("%s dies, %s", p.name, what)
	p.link.kill()
	p.cancel()
	p.slot.replace(p, time.Duration(p.slot.number*1500+500)*time.Millisecond)
}

// calm ends the faults of a slot. A process is there afterwards.
func (s *slot) calm() {
	s.mu.Lock()
	s.calmed = true
	p := s.process
	s.mu.Unlock()
	if p != nil {
		p.link.heal()
	} else {
		s.start()
	}
}

// end drains the process for good.
func (s *slot) end() {
	s.mu.Lock()
	s.ended = true
	p := s.process
	s.mu.Unlock()
	if p != nil {
		p.left.Store(true)
		p.cancel()
	}
}

// at reports whether the process is to crash at its next step of that kind, and
// counts it.
func (p *process) at(step Step) *crash {
	p.mu.Lock()
	p.taken[step]++
	n := p.taken[step]
	c := p.crash
	p.mu.Unlock()
	if c == nil || c.step != step || c.nth != n {
		return nil
	}
	p.slot.mu.Lock()
	defer p.slot.mu.Unlock()
	if p.slot.calmed {
		return nil
	}
	return c
}

// request sees each request of the process.
func (p *process) request(frame []byte) (pass bool, answered func(frame []byte) response) {
	key, taken, writes := p.slot.m.wire.read(frame)
	var after *crash
	for _, step := range taken {
		if c := p.at(step); c != nil {
			if !c.after {
				p.die(c.name(p.slot.agent.cfg.ExactlyOnce))
				return false, nil
			}
			after = c
		}
	}
	lost := p.loss.CompareAndSwap(int32(key), noLoss)
	membership := answersMember(key)
	p.sends(writes)
	if after == nil && len(writes) == 0 && !lost && !membership {
		return true, nil
	}
	version := int16(binary.BigEndian.Uint16(frame[6:]))
	return true, func(answer []byte) response {
		if membership {
			if expels(answer, key, version) && !p.left.Load() {
				p.slot.m.history.hit(thrownOut)
				p.slot.m.history.note("%s: the group has thrown it out", p.name)
			}
		}
		if len(writes) > 0 {
			p.slot.m.wire.answered(writes, answer, version)
			p.sent(writes)
		}
		if after != nil {
			p.die(after.name(p.slot.agent.cfg.ExactlyOnce))
			return lose
		}
		p.slot.m.history.wrote(writes)
		if lost {
			p.slot.m.history.hit(lostAnswer(kmsg.Key(key)))
			p.slot.m.history.note("%s: the answer to %s is lost", p.name, kmsg.Key(key).Name())
			return lose
		}
		return deliver
	}
}

// clock is a process's clock.
type clock struct{ ahead atomic.Int64 }

// Now implements streaming.Clock.
func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
