package pipeline

import (
	"maps"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Limiter shares an instance's limits out to its lanes, which take turns: who
// has waited longest starts next. A nil Limiter limits nothing.
type Limiter struct {
	handlers         int
	requests, tokens *pace

	mu      sync.Mutex
	running int
	waiting []*turn // lanes that want to start a handler, the first one's turn
	cost    float64 // tokens that a run spends, as a moving average
	runs    int     // that cost is known of

	limit  streaming.Limit // what the first waits for, since the time at
	at     time.Time
	waited map[streaming.Limit]time.Duration
}

// NewLimiter returns nil where nothing is limited.
func NewLimiter(l streaming.Limits) *Limiter {
	if !l.Any() {
		return nil
	}
	return &Limiter{
		handlers: l.Handlers, requests: newPace(l.RequestsPerMinute), tokens: newPace(l.TokensPerMinute),
		waited: make(map[streaming.Limit]time.Duration),
	}
}

// turn is a lane's place among those that share a limiter. A nil turn is always
// the lane's.
type turn struct {
	l      *Limiter
	wake   func()
	permit *permit // taken, not used yet
	queued bool
}

func (l *Limiter) turn(wake func()) *turn {
	if l == nil {
		return nil
	}
	return &turn{l: l, wake: wake}
}

// permit lets one handler run.
type permit struct {
	l       *Limiter
	charged float64 // tokens, before it is known what it spends
	spent   float64
}

// take reports whether the lane may start a handler now.
func (t *turn) take(now time.Time) bool {
	if t == nil || t.permit != nil {
		return true
	}
	l := t.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 && l.waiting[0] != t {
		return false
	}
	if limit, _ := l.blocked(now); limit != "" {
		return false
	}
	t.charge(now)
	t.dequeue()
	l.account(now)
	return true
}

// use hands the permit that was taken to the handler that runs on it. One that
// is started out of turn, as it was in doubt, is charged all the same.
func (t *turn) use(now time.Time) *permit {
	if t == nil {
		return nil
	}
	if t.permit == nil {
		t.l.mu.Lock()
		defer t.l.mu.Unlock()
		t.charge(now)
	}
	p := t.permit
	t.permit = nil
	return p
}

func (t *turn) charge(now time.Time) {
	l := t.l
	t.permit = &permit{l: l, charged: l.cost}
	l.running++
	l.requests.charge(now, 1)
	l.tokens.charge(now, l.cost)
}

// rest gives back what was taken and not used; who wants more queues up, who
// does not leaves the queue.
func (t *turn) rest(now time.Time, wants bool) {
	if t == nil {
		return
	}
	unused := t.permit
	t.permit = nil
	unused.end(now, false)
	l := t.l
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case wants && !t.queued:
		t.queued = true
		l.waiting = append(l.waiting, t)
	case !wants:
		t.dequeue()
	}
	l.account(now)
}

// wait is when the lane shall look again: only the first in the queue watches
// the clock, the others are woken.
func (t *turn) wait(now time.Time) (time.Duration, bool) {
	if t == nil {
		return 0, false
	}
	l := t.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 || l.waiting[0] != t {
		return 0, false
	}
	limit, wait := l.blocked(now)
	return wait, limit == "" || wait > 0
}

func (t *turn) dequeue() {
	if !t.queued {
		return
	}
	t.queued = false
	l := t.l
	for i, other := range l.waiting {
		if other == t {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			break
		}
	}
	l.next()
}

// next wakes the lane whose turn it is.
func (l *Limiter) next() {
	if len(l.waiting) > 0 {
		l.waiting[0].wake()
	}
}

// blocked says what keeps the next handler from starting, and for how long
// where only time does.
func (l *Limiter) blocked(now time.Time) (streaming.Limit, time.Duration) {
	requests, tokens := l.requests.wait(now), l.tokens.wait(now)
	switch {
	case l.handlers > 0 && l.running >= l.handlers:
		return streaming.LimitHandlers, 0
	case l.tokens != nil && l.runs == 0 && l.running > 0:
		return streaming.LimitTokens, 0 // the first run tells what a run spends
	case tokens > 0 && tokens >= requests:
		return streaming.LimitTokens, tokens
	case requests > 0:
		return streaming.LimitRequests, requests
	}
	return "", 0
}

// spend charges tokens that a handler reports.
func (p *permit) spend(now time.Time, tokens float64) {
	if p == nil || !(tokens > 0) {
		return
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.spent += tokens
	p.l.tokens.charge(now, tokens)
}

// costWeight is the weight of the last run in the average of what runs spend.
const costWeight = 1.0 / 8

// end tells that the handler has returned, or was never started.
func (p *permit) end(now time.Time, ran bool) {
	if p == nil {
		return
	}
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	l.tokens.refund(p.charged)
	switch {
	case !ran:
		l.requests.refund(1)
	case l.runs == 0:
		l.cost = p.spent
		l.runs++
	default:
		l.cost += (p.spent - l.cost) * costWeight
	}
	l.account(now)
	l.next()
}

// account adds up how long the first in the queue has waited for what.
func (l *Limiter) account(now time.Time) {
	if l.limit != "" {
		l.waited[l.limit] += now.Sub(l.at)
	}
	l.limit, l.at = "", now
	if len(l.waiting) > 0 {
		l.limit, _ = l.blocked(now)
	}
}

// Waited is how long handlers have waited for each limit since the last call.
func (l *Limiter) Waited(now time.Time) map[streaming.Limit]time.Duration {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(now)
	waited := maps.Clone(l.waited)
	clear(l.waited)
	return waited
}

// yield gives back what the lane may start and has nothing for, and queues up
// where it has.
func (l *Lane) yield() {
	if l.turn == nil {
		return
	}
	now := l.cfg.Clock.Now()
	l.turn.rest(now, !l.closing && l.failure == nil && l.mayStart(now) && l.machine.Runnable())
}
