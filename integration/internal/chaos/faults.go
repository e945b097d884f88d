package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Faults are what happens to a run, spread at random over its time.
type Faults struct {
	Kills    int // workers, SIGKILL; each is started again
	Restarts int // workers, SIGTERM; likewise
	Freezes  int // workers, SIGSTOP and SIGCONT
	Cuts     int // of ways between workers, the load and brokers

	BrokerKills    int // SIGKILL, and started again
	BrokerRestarts int // SIGTERM, and started again
	BrokerCuts     int // cut off from the other brokers, while clients reach it

	FreezeFor [2]time.Duration // from, to
	CutFor    [2]time.Duration
}

// Brokers are what faults of brokers are done to: a cluster of containers.
type Brokers interface {
	Brokers() int
	Stop(ctx context.Context, broker int) error
	Kill(ctx context.Context, broker int) error
	Start(ctx context.Context, broker int) error
	Isolate(ctx context.Context, broker int) error
	Rejoin(ctx context.Context, broker int) error
}

// storm lays faults on a run.
type storm struct {
	Faults
	seed    uint64
	over    time.Duration
	fleet   *Fleet
	load    string // host that it comes from
	front   *Front
	brokers Brokers
	broken  *sync.Mutex
	whole   func(context.Context) error // waits until every partition has all its replicas

	log io.Writer

	mu       sync.Mutex
	happened Happened
	errs     []error
}

// Happened counts the faults that happened.
type Happened struct {
	Kills          int `json:"sigkills"`
	Restarts       int `json:"restarts"`
	Freezes        int `json:"sigstops"`
	LongFreezes    int `json:"sigstops_of_30s_and_more"`
	Cuts           int `json:"network_cuts"`
	BrokerKills    int `json:"broker_sigkills"`
	BrokerRestarts int `json:"broker_restarts"`
	BrokerCuts     int `json:"broker_cuts"`
}

// rage returns when all faults have happened and are mended.
func (s *storm) rage(ctx context.Context) {
	var all sync.WaitGroup
	// Each kind has its own times and choices, so that one does not change those of another.
	kind := func(number uint64, n int, longest time.Duration, do func(context.Context, *rand.Rand)) {
		rnd := rand.New(rand.NewPCG(s.seed, number))
		begin := time.Now()
		window := max(s.over-longest, 0)
		for i := range n {
			at := time.Duration((float64(i) + rnd.Float64()) / float64(n) * float64(window))
			own := rand.New(rand.NewPCG(rnd.Uint64(), number))
			all.Go(func() {
				if sleep(ctx, time.Until(begin.Add(at))) {
					do(ctx, own)
				}
			})
		}
	}
	kind(1, s.Kills, 3*time.Second, s.kill)
	kind(2, s.Restarts, 5*time.Second, s.restart)
	kind(3, s.Freezes, s.FreezeFor[1], s.freeze)
	kind(4, s.Cuts, s.CutFor[1], s.cut)
	all.Go(func() { s.brokerFaults(ctx) })
	all.Wait()
}

// brokerFaults come one after the other, on one broker after the other: with
// one of three down what was acknowledged is still held by two.
func (s *storm) brokerFaults(ctx context.Context) {
	rnd := rand.New(rand.NewPCG(s.seed, 5))
	kinds := []string{}
	for name, n := range map[string]int{"kill": s.BrokerKills, "restart": s.BrokerRestarts, "cut": s.BrokerCuts} {
		for range n {
			kinds = append(kinds, name)
		}
	}
	rnd.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	begin := time.Now()
	broker := rnd.IntN(s.brokers.Brokers())
	for i, kind := range kinds {
		// Where mending takes longer than its share, the next follows at once.
		if !sleep(ctx, time.Until(begin.Add(s.over*time.Duration(i)/time.Duration(len(kinds))))) {
			return
		}
		broker = broker%s.brokers.Brokers() + 1
		if err := s.brokerFault(ctx, rnd, kind, broker); err != nil {
			s.fail(fmt.Errorf("%s of broker %d: %w", kind, broker, err))
			return
		}
	}
}

func (s *storm) brokerFault(ctx context.Context, rnd *rand.Rand, kind string, broker int) error {
	s.broken.Lock()
	defer s.broken.Unlock()
	switch kind {
	case "kill":
		s.note(&s.happened.BrokerKills, "broker %d: SIGKILL", broker)
		if err := s.brokers.Kill(ctx, broker); err != nil {
			return err
		}
		sleep(ctx, between(rnd, [2]time.Duration{0, 5 * time.Second}))
		if err := s.brokers.Start(ctx, broker); err != nil {
			return err
		}
	case "restart":
		s.note(&s.happened.BrokerRestarts, "broker %d: SIGTERM", broker)
		if err := s.brokers.Stop(ctx, broker); err != nil {
			return err
		}
		if err := s.brokers.Start(ctx, broker); err != nil {
			return err
		}
	case "cut":
		s.note(&s.happened.BrokerCuts, "broker %d: cut off from the others", broker)
		if err := s.brokers.Isolate(ctx, broker); err != nil {
			return err
		}
		sleep(ctx, between(rnd, [2]time.Duration{5 * time.Second, 20 * time.Second})) // it is fenced after 9 s
		if err := s.brokers.Rejoin(ctx, broker); err != nil {
			return err
		}
	}
	s.note(nil, "broker %d: is back", broker)
	if err := s.whole(ctx); err != nil {
		return err
	}
	s.note(nil, "all replicas are in sync")
	return nil
}

func (s *storm) kill(ctx context.Context, rnd *rand.Rand) {
	w := s.pick(ctx, rnd)
	if w == nil {
		return
	}
	defer s.fleet.release(w)
	s.note(&s.happened.Kills, "worker %d: SIGKILL", w.number)
	<-s.fleet.signal(w, syscall.SIGKILL)
	sleep(ctx, between(rnd, [2]time.Duration{0, 3 * time.Second}))
	s.fail(s.fleet.restart(w))
}

func (s *storm) restart(ctx context.Context, rnd *rand.Rand) {
	w := s.pick(ctx, rnd)
	if w == nil {
		return
	}
	defer s.fleet.release(w)
	s.note(&s.happened.Restarts, "worker %d: SIGTERM", w.number)
	select {
	case <-s.fleet.signal(w, syscall.SIGTERM):
		if w.err != nil {
			s.undrained(fmt.Errorf("worker %d does not end well: %w", w.number, w.err))
		}
	case <-time.After(drainWithin):
		s.undrained(fmt.Errorf("worker %d does not drain within %s, and is killed", w.number, drainWithin))
		<-s.fleet.signal(w, syscall.SIGKILL)
		s.note(&s.happened.Kills, "worker %d: SIGKILL", w.number)
	}
	s.fail(s.fleet.restart(w))
}

// undrained is a failure only where nothing was in the way of draining: a worker
// that reaches no broker cannot commit, nor leave its group.
func (s *storm) undrained(err error) {
	if s.Cuts+s.BrokerKills+s.BrokerRestarts+s.BrokerCuts > 0 {
		s.note(nil, "%v", err)
		return
	}
	s.fail(err)
}

func (s *storm) freeze(ctx context.Context, rnd *rand.Rand) {
	w := s.pick(ctx, rnd)
	if w == nil {
		return
	}
	defer s.fleet.release(w)
	d := between(rnd, s.FreezeFor)
	s.note(&s.happened.Freezes, "worker %d: SIGSTOP for %s", w.number, d.Round(time.Second))
	s.fleet.signal(w, syscall.SIGSTOP)
	begin := time.Now()
	sleep(ctx, d)
	s.fleet.signal(w, syscall.SIGCONT)
	if time.Since(begin) >= 30*time.Second {
		s.note(&s.happened.LongFreezes, "worker %d: SIGCONT", w.number)
	} else {
		s.note(nil, "worker %d: SIGCONT", w.number)
	}
	sleep(ctx, 2*time.Second) // it acts as the zombie it may be, before anything else befalls it
}

// cut cuts one worker from all brokers or from one, or everybody from one.
func (s *storm) cut(ctx context.Context, rnd *rand.Rand) {
	brokers := []int{1 + rnd.IntN(s.brokers.Brokers())}
	var clients []string
	for _, w := range s.fleet.slots {
		clients = append(clients, w.host)
	}
	clients = append(clients, s.load)
	switch rnd.IntN(3) {
	case 0: // one from all
		brokers = brokers[:0]
		for b := range s.brokers.Brokers() {
			brokers = append(brokers, b+1)
		}
		fallthrough
	case 1: // one from one
		i := rnd.IntN(len(clients))
		clients = clients[i : i+1]
	}
	reset := rnd.IntN(2) == 0
	d := between(rnd, s.CutFor)
	s.note(&s.happened.Cuts, "%s cut from brokers %v for %s, reset %t", strings.Join(clients, " "), brokers, d.Round(time.Second), reset)
	heal := s.front.Cut(clients, brokers, reset)
	sleep(ctx, d)
	heal()
	s.note(nil, "%s healed to brokers %v", strings.Join(clients, " "), brokers)
}

// pick waits for a worker that may be mistreated.
func (s *storm) pick(ctx context.Context, rnd *rand.Rand) *slot {
	for {
		if w := s.fleet.pick(rnd); w != nil || !sleep(ctx, 100*time.Millisecond) {
			return w
		}
	}
}

func (s *storm) note(counter *int, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counter != nil {
		*counter++
	}
	_, _ = fmt.Fprintf(s.log, "%s %s\n", time.Now().Format(clock), fmt.Sprintf(format, args...))
}

func (s *storm) fail(err error) {
	if err != nil {
		s.note(nil, "%v", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	}
}

func between(rnd *rand.Rand, bounds [2]time.Duration) time.Duration {
	return bounds[0] + time.Duration(rnd.Float64()*float64(bounds[1]-bounds[0]))
}

// sleep is false where ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
