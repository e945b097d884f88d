package streamtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// Simulation is a cluster of real workers on a fake broker in virtual time, with
// faults from a seed. A crash takes a worker's network and its goroutines at a
// named step; what has not reached the broker is lost, and a new process takes
// its place.
type Simulation struct {
	// Agents are the agents, the one that the messages are sent to first.
	Agents []Simulated
	// Message returns the i-th input message. It must depend on r and i only.
	Message func(r *rand.Rand, i int) Message
	// Topics are others that the agents write to; those of the agents themselves
	// exist.
	Topics []string
	// Messages is how many there are, beside the duplicates. Default 200.
	Messages int
	// Check, if set, looks at what stands in all topics at the end, as a
	// read_committed consumer sees it and in the order of each partition, and returns
	// what is wrong with it.
	Check func(topics map[string][]streaming.Record) []string
	// Length is how long messages are sent and faults happen. Default 40 s.
	Length time.Duration
	// Partitions of the topics; default 3.
	Partitions int32
	// Faults that may happen, beside crashes; default all. With Calm none does,
	// and no worker crashes.
	Faults []Fault
	Calm   bool
	// TraceDir is where the trace of a failure is saved; default: the system's
	// folder of temporary files. With KeepTrace every trace is.
	TraceDir  string
	KeepTrace bool

	troubles []trouble // instead of what the seed draws, for the kit's own tests; with them:
	crashes  map[int][]crash
}

// Simulated is an agent of a simulation.
type Simulated struct {
	// Config returns the configuration of one process. It is called at each
	// start: what a process keeps in memory is lost when it crashes. Use the
	// cluster's addresses, dialer and schemas; the simulation sets short sessions
	// where nothing is set.
	Config func(c *Cluster) (worker.Config, error)
	// Workers is how many processes work at once. Default 2.
	Workers int
}

// Message is an input message of a simulation.
type Message struct {
	Topic   string // default: the inbox of the first agent
	Key     string
	NoKey   bool // a record without a key
	Payload schemas.Message
	Headers []streaming.Header // beside those of the envelope
	// Envelope changes the message's attributes before it is sent. Default: a
	// command from "source" without further wishes.
	Envelope func(*streaming.Envelope)
}

// Outcome is what a simulation came to.
type Outcome struct {
	Seed       uint64
	Plan       string         // the fault schedule
	Hits       map[string]int // crash points and faults by name: how often they happened
	Violations []string       // of the guarantees
	Trace      string         // file of the trace, if one was saved
	Input      int            // records sent
	Runs       int            // of handlers
	Dead       map[string]int // dead letters of all agents, by reason
	Virtual    time.Duration
}

// Simulate runs a simulation from a seed and reports what violates a guarantee
// as errors of the test. A seed gives the same input and the same fault
// schedule each time, not the same history: goroutines are scheduled by the
// runtime. It must not be called in a synctest bubble, and needs the build tag
// synctests: with it a goroutine that waits for a lock of the Kafka client does
// not hold virtual time up.
func Simulate(t *testing.T, seed uint64, s Simulation) *Outcome {
	t.Helper()
	if !virtualLocks {
		t.Fatal("a simulation needs the Kafka client's locks for virtual time: go test -tags synctests")
	}
	o := s.run(t, seed)
	for _, v := range o.Violations {
		t.Errorf("seed %d: %s", seed, v)
	}
	if len(o.Violations) > 0 {
		t.Logf("seed %d: %s\ntrace: %s", seed, o.Plan, o.Trace)
	}
	return o
}

func (s Simulation) run(t *testing.T, seed uint64) *Outcome {
	if s.Messages == 0 {
		s.Messages = 200
	}
	if s.Partitions == 0 {
		s.Partitions = 3
	}
	if s.Length == 0 {
		s.Length = 40 * time.Second
	}
	if s.Faults == nil {
		s.Faults = allFaults
	}
	if s.Calm {
		s.Faults = nil
	}
	o := &Outcome{Seed: seed}
	var current atomic.Pointer[history]
	defer time.AfterFunc(realTimeout, func() { s.giveUp(seed, current.Load()) }).Stop()
	synctest.Test(t, func(t *testing.T) {
		m := &simulator{t: t, s: s, seed: seed, network: &kfake.VirtualNetwork{}, history: newHistory()}
		current.Store(m.history)
		if err := m.simulate(); err != nil {
			m.violations = append(m.violations, "the simulation: "+err.Error())
		}
		o.Plan, o.Hits, o.Violations = m.plan.String(), m.history.hits, m.violations
		o.Dead = m.dead
		o.Input, o.Runs, o.Virtual = m.sent, len(m.history.runs), time.Since(m.history.begin)
		if len(o.Violations) > 0 || s.KeepTrace {
			var err error
			if o.Trace, err = m.history.save(s.TraceDir, seed, append([]string{fmt.Sprintf("seed %d", seed), o.Plan}, o.Violations...)...); err != nil {
				o.Trace = err.Error()
			}
		}
	})
	return o
}

// giveUp ends the process, as nothing else ends a bubble that spins.
func (s Simulation) giveUp(seed uint64, h *history) {
	var goroutines strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&goroutines, 1)
	trace, err := h.save(s.TraceDir, seed, goroutines.String())
	if err != nil {
		trace = err.Error()
	}
	panic(fmt.Sprintf("seed %d: stuck: it has not ended in %s of real time\ntrace, with all goroutines: %s", seed, realTimeout, trace))
}

// simulator is one run of a simulation, inside its bubble.
type simulator struct {
	t       *testing.T
	s       Simulation
	seed    uint64
	network *kfake.VirtualNetwork
	fake    *kfake.Cluster
	cluster *Cluster
	log     *kafka.Log // of the simulation itself: no fault touches it
	client  *kgo.Client
	wire    *wire
	archive *archive
	plan    plan
	history *history

	agents []*agent
	slots  []*slot

	mu sync.Mutex // of slots, while faults happen

	closing    chan struct{} // the faults are over and the workers are to end
	background sync.WaitGroup
	sent       int
	violations []string
	dead       map[string]int
}

// agent is one simulated agent.
type agent struct {
	number int
	def    Simulated
	cfg    worker.Config // as its processes have it, without what differs
	codec  *schemas.Codec

	mu       sync.Mutex
	takeover bool // a worker has been at work beside the one that took over from it
	owners   map[streaming.TopicPartition]*owners
	skewed   bool // a worker's clock has jumped
	redriven bool // dead letters were given back
}

const (
	brokers        = 3
	firstPort      = 9092
	sessionTimeout = 12 * time.Second
	// A rebalance has to end before a session does: the fake broker expels a
	// member that waits for the others to join, without telling it, which Kafka
	// does not. It would be a takeover from a worker that is alive.
	rebalanceTimeout = 4 * time.Second
	drainTimeout     = 2 * time.Second
	settleTimeout    = 5 * time.Minute // until everything has to be settled
	// realTimeout bounds a seed, which takes a second, in real time: in an endless
	// loop no virtual time passes, and nothing in the bubble would ever notice.
	realTimeout = 2 * time.Minute
)

func (m *simulator) simulate() error {
	defer m.close()
	if err := m.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	m.archive = newArchive(m.log, m.agents)
	stopArchive := make(chan struct{})
	var archiving sync.WaitGroup
	var archiveErr error
	archiving.Go(func() { archiveErr = m.archive.keep(ctx, stopArchive) })
	for _, s := range m.slots {
		s.start()
	}
	var busy sync.WaitGroup
	var sendErr error
	busy.Go(func() { sendErr = m.load(ctx) })
	busy.Go(func() { m.inject() })
	busy.Wait()
	if sendErr != nil {
		cancel()
		archiving.Wait()
		return sendErr
	}
	for _, s := range m.slots {
		s.calm()
	}
	m.history.note("no more faults")
	stuck := m.settle(ctx)
	for _, s := range m.slots {
		s.end()
	}
	close(m.closing)
	m.awaitEnd()
	close(stopArchive)
	archiving.Wait()
	if archiveErr != nil {
		return archiveErr
	}
	for range m.archive.trimmed(ctx) {
		m.history.hit("ledger partition trimmed")
	}
	return m.check(ctx, stuck)
}

// awaitEnd waits until all processes have drained and ended.
func (m *simulator) awaitEnd() {
	ended := make(chan struct{})
	go func() {
		m.background.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-time.After(settleTimeout):
	}
	for _, s := range m.slots {
		s.mu.Lock()
		p := s.process
		s.mu.Unlock()
		if p != nil {
			m.violation("stuck: %s does not end", p.name)
			p.link.kill()
		}
	}
	<-ended
}

// open starts the broker and creates the topics.
func (m *simulator) open() error {
	var err error
	m.closing = make(chan struct{})
	var ports []int
	for i := range brokers {
		ports = append(ports, firstPort+i)
	}
	m.fake, err = kfake.NewCluster(kfake.Ports(ports...), kfake.ListenFn(m.network.Listen),
		kfake.BrokerConfigs(map[string]string{ // of groups with the consumer protocol
			"group.consumer.session.timeout.ms":    fmt.Sprint(sessionTimeout.Milliseconds()),
			"group.consumer.heartbeat.interval.ms": "3000",
		}))
	if err != nil {
		return err
	}
	m.fake.ControlKey(kmsg.GetTelemetrySubscriptions.Int16(), refuseMetrics(m.fake))
	m.cluster = &Cluster{Brokers: m.fake.ListenAddrs(), Schemas: schemas.NewMemoryRegistry(), Dialer: m.network.DialContext}
	if m.log, err = kafka.NewLog(kafka.Config{Brokers: m.cluster.Brokers, Dialer: m.cluster.Dialer}); err != nil {
		return err
	}
	if m.client, err = kgo.NewClient(kgo.SeedBrokers(m.cluster.Brokers...), kgo.Dialer(m.cluster.Dialer),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0)); err != nil {
		return err
	}
	exactlyOnce := false
	for i, def := range m.s.Agents {
		a := &agent{number: i, def: def, owners: make(map[streaming.TopicPartition]*owners)}
		if a.def.Workers == 0 {
			a.def.Workers = 2
		}
		if a.cfg, err = m.configure(a, m.cluster); err != nil {
			return err
		}
		a.codec = a.cfg.Codec
		exactlyOnce = exactlyOnce || a.cfg.ExactlyOnce
		m.agents = append(m.agents, a)
		if err := m.createTopics(a); err != nil {
			return err
		}
		for n := range a.def.Workers {
			m.slots = append(m.slots, &slot{m: m, agent: a, number: len(m.slots), name: fmt.Sprintf("%s-%d", a.cfg.Agent, n)})
		}
	}
	for _, topic := range m.s.Topics {
		if err := m.fake.CreateTopic(topic, m.s.Partitions, nil); err != nil {
			return err
		}
	}
	var of []int
	for _, s := range m.slots {
		of = append(of, s.agent.number)
	}
	m.plan = newPlan(m.seed, of, m.s.Faults, m.s.Length, exactlyOnce)
	if m.s.troubles != nil {
		m.plan.crashes, m.plan.troubles = m.s.crashes, m.s.troubles
	}
	for i, s := range m.slots {
		s.armed = m.plan.crashes[i]
	}
	m.wire = &wire{codec: schemas.NewCodec(m.cluster.Schemas), topics: make(map[[16]byte]string), unzip: kgo.DefaultDecompressor()}
	details, err := kadm.NewClient(m.client).ListTopics(context.Background())
	for _, d := range details {
		m.wire.topics[d.ID] = d.Topic
	}
	return err
}

// refuseMetrics keeps clients from pushing their metrics to the brokers, which
// takes a tenth of a simulation's time.
func refuseMetrics(fake *kfake.Cluster) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		resp := req.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp, nil, true
	}
}

// configure returns the configuration of a process on that cluster.
func (m *simulator) configure(a *agent, c *Cluster) (worker.Config, error) {
	cfg, err := a.def.Config(c)
	if err != nil {
		return cfg, err
	}
	cfg.Kafka.Brokers, cfg.Kafka.Dialer = c.Brokers, c.Dialer
	cfg.Retry = cfg.Retry.WithDefaults()
	if cfg.Group == "" {
		cfg.Group = cfg.Agent
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "parley"
	}
	if cfg.Codec == nil {
		cfg.Codec = schemas.NewCodec(c.Schemas)
	}
	if cfg.SessionTimeout == 0 && cfg.GroupProtocol != kafka.ProtocolConsumer {
		cfg.SessionTimeout = sessionTimeout
	}
	if cfg.RebalanceTimeout == 0 {
		cfg.RebalanceTimeout = rebalanceTimeout
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = drainTimeout
	}
	cfg.Partitions = m.s.Partitions
	return cfg, nil
}

func (m *simulator) createTopics(a *agent) error {
	plan, err := m.log.PlanTopics(context.Background(), a.cfg.TopicSpecs())
	if err != nil {
		return err
	}
	return m.log.ApplyTopics(context.Background(), plan, -1)
}

func (m *simulator) close() {
	select {
	case <-m.closing:
	default:
		close(m.closing)
		for _, s := range m.slots {
			s.end()
		}
	}
	m.background.Wait()
	if m.client != nil {
		m.client.Close()
	}
	if m.log != nil {
		m.log.Close()
	}
	if m.fake != nil {
		m.fake.Close()
	}
}
