package pipeline

import "sync"

// runners are the goroutines of a lane that run handlers. One serves many
// messages, because growing its stack costs about as much as handling one. They
// share a queue, so that none waits behind a slow one, and wake each other: who
// takes an attempt wakes the next if there is more to do. So handlers that wait
// run side by side, and those that are quick keep few goroutines busy.
type runners struct {
	run func(*attempt)

	mu      sync.Mutex
	wake    sync.Cond
	queue   []*attempt
	next    int // in queue
	parked  int
	waking  bool // one was woken or made and has not taken anything yet
	stopped bool
}

func newRunners(run func(*attempt)) *runners {
	rs := &runners{run: run}
	rs.wake.L = &rs.mu
	return rs
}

// start hands an attempt over. No more goroutines are made than there are
// attempts at once.
func (rs *runners) start(a *attempt) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.next > len(rs.queue)/2 {
		left := copy(rs.queue, rs.queue[rs.next:])
		clear(rs.queue[left:])
		rs.queue, rs.next = rs.queue[:left], 0
	}
	rs.queue = append(rs.queue, a)
	rs.rouse()
}

// stop ends the goroutines as they come back. It returns what they have not
// started.
func (rs *runners) stop() []*attempt {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.stopped = true
	left := rs.queue[rs.next:]
	rs.queue, rs.next = nil, 0
	rs.wake.Broadcast()
	return left
}

// rouse sees to it that somebody takes what is in the queue.
func (rs *runners) rouse() {
	if rs.waking || rs.next == len(rs.queue) {
		return
	}
	rs.waking = true
	if rs.parked > 0 {
		rs.parked--
		rs.wake.Signal()
		return
	}
	go rs.loop()
}

func (rs *runners) loop() {
	for a := rs.take(); a != nil; a = rs.take() {
		rs.run(a)
	}
}

func (rs *runners) take() *attempt {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for rs.next == len(rs.queue) {
		if rs.stopped {
			return nil
		}
		rs.waking = false // if it was for this one, another was quicker
		rs.parked++
		rs.wake.Wait()
	}
	a := rs.queue[rs.next]
	rs.queue[rs.next] = nil
	rs.next++
	rs.waking = false
	rs.rouse()
	return a
}
