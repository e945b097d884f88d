// Package worker assembles one worker: a member of an agent's consumer group
// that takes the records of the input partitions it owns to their ends.
package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// Config describes a worker.
type Config struct {
	Agent     string              // required; names the inbox
	Group     string              // default: the agent's name
	Namespace streaming.Namespace // default: parley
	Streams   []string            // streams subscribed to, beside the inbox
	From      From                // where a new group begins to read its streams; default: FromStart
	Handlers  map[string]streaming.Handler
	Filters   map[string]*schemas.Filter // by message type: what does not match is skipped, on the inbox, too

	// Contract is published in the topic of agents at the start, under the group's
	// key, if it differs from what stands there. Default: none.
	Contract *schemas.AgentContract

	// Lease is for how long this instance says that it is there, in the topic of agents;
	// it says so three times as often. Default: DefaultLease; negative: it does not.
	Lease   time.Duration
	Version string // of the build, as the directory shows it; default: none

	// Agents is told each record of the topic of agents, in order: no handler is started
	// before it has had what stood there. It must not block. Default: nobody.
	Agents func(rec *streaming.Record)

	// Follow are topics that are read from their start and followed while the worker
	// runs. No handler is started before what stands in them has been read.
	Follow []Follow

	Kafka kafka.Config
	Codec *schemas.Codec // required

	// ExactlyOnce writes outputs, marks, retry and dead-letter records and
	// offsets in Kafka transactions: a read_committed reader sees each output
	// once. For Kafka; the embedded broker does not keep a transaction atomic
	// across its own crash. Instance names this process slot, the same at each
	// start, so that a restart ends what its predecessor left open; default: a
	// random name.
	ExactlyOnce bool
	Instance    string

	// Unordered lets messages of one key overtake each other and be handled side
	// by side: what fails holds up nothing. Default: in order.
	Unordered bool

	// Hold makes a dead letter hold its key: the messages of the key that come
	// after it wait, in a hold topic, until it has been redriven and is done, or is
	// discarded. A hold never expires. Default: the key goes on.
	Hold bool

	Retry          retry.Policy  // default: tiers 1s, 10s, 1m, 10m; 5 attempts; no rules
	Parallel       int           // handlers at once per partition; default 16
	MaxPending     int           // unsettled records per partition before fetching pauses; default 1536, with ExactlyOnce 4096: see defaultPending
	MaxHeld        int           // waiting values in memory per partition; default 1024
	MaxBytes       int           // of unsettled records in memory, over all partitions, before fetching pauses; default 64 MiB
	MaxWaiting     int           // messages waiting in retry topics per partition before fetching pauses; default 100,000
	HandlerTimeout time.Duration // after which a handler's context ends; default none
	DrainTimeout   time.Duration // of a stop or a revoked partition; default 10 s
	CommitInterval time.Duration // default 200 ms

	Limits streaming.Limits // of this worker over all its partitions; default none

	// The ledger recognises a message again for LedgerWindow (default 24 h) or
	// LedgerSize messages per partition (default 1,000,000), whichever is less.
	LedgerWindow time.Duration
	LedgerSize   int

	// The answer to a request is kept with its mark, up to AnswerBytes (default
	// 16 KiB, at most 256 KiB; negative: none), and sent again to a duplicate.
	AnswerBytes int

	// The result of a handler's step has up to StepBytes (default 64 KiB), those
	// of one message MessageStepBytes in all (default 1 MiB). Up to HeldStepBytes
	// per partition (default 16 MiB) are kept in memory; others are read from the
	// ledger again when they are needed.
	StepBytes        int
	MessageStepBytes int
	HeldStepBytes    int

	// State lets handlers keep state (streaming.State), in a compacted topic beside
	// each input topic. All of it is in memory; an entry has up to StateBytes
	// (default 256 KiB). It needs order.
	State      bool
	StateBytes int

	// Maintained are topics that handlers write beside their messages; the worker
	// makes sure of them at its start.
	Maintained []kafka.TopicSpec

	// Partitions and Replication are for topics that do not exist yet; default
	// 6 and the broker's own. With CheckTopicsOnly nothing is created.
	Partitions      int32
	Replication     int16
	CheckTopicsOnly bool

	GroupProtocol    kafka.GroupProtocol // default: classic
	SessionTimeout   time.Duration       // default: the client's, 45 s; with the consumer protocol the brokers'
	RebalanceTimeout time.Duration       // default 60 s; above DrainTimeout

	// Observe returns the observer of one input topic. Default: none.
	Observe func(topic string) pipeline.Observer
	// ObserveAgent is told what holds this instance back. Default: none.
	ObserveAgent pipeline.AgentObserver
	// Trace carries the W3C trace context. Default: as it came.
	Trace  func(traceparent, tracestate string) (string, string)
	Logger *slog.Logger    // default: none
	Clock  streaming.Clock // default: the machine's
}

// defaultPending is as much as keeps a lane busy: what is more is only memory
// that the collector has to follow. Exactly once, messages are unsettled until
// their transaction ends, and fewer of them make smaller transactions.
func defaultPending(exactlyOnce bool) int {
	if exactlyOnce {
		return 4096
	}
	return 1536
}

func (c Config) withDefaults() Config {
	c.Group = or(c.Group, c.Agent)
	c.Namespace = or(c.Namespace, streaming.DefaultNamespace)
	c.Instance = or(c.Instance, schemas.NewID())
	c.Retry = c.Retry.WithDefaults()
	c.Parallel = or(c.Parallel, 16)
	c.MaxPending = or(c.MaxPending, defaultPending(c.ExactlyOnce))
	c.MaxHeld = or(c.MaxHeld, 1024)
	c.MaxBytes = or(c.MaxBytes, 64<<20)
	c.MaxWaiting = or(c.MaxWaiting, 100_000)
	c.DrainTimeout = or(c.DrainTimeout, 10*time.Second)
	c.CommitInterval = or(c.CommitInterval, 200*time.Millisecond)
	c.LedgerWindow = or(c.LedgerWindow, 24*time.Hour)
	c.LedgerSize = or(c.LedgerSize, 1_000_000)
	c.AnswerBytes = or(c.AnswerBytes, 16<<10)
	c.StepBytes = or(c.StepBytes, 64<<10)
	c.MessageStepBytes = or(c.MessageStepBytes, 1<<20)
	c.HeldStepBytes = or(c.HeldStepBytes, 16<<20)
	c.StateBytes = or(c.StateBytes, 256<<10)
	c.GroupProtocol = or(c.GroupProtocol, kafka.ProtocolClassic)
	c.RebalanceTimeout = or(c.RebalanceTimeout, time.Minute)
	c.Partitions = or(c.Partitions, 6)
	c.Lease = or(c.Lease, DefaultLease)
	c.Replication = or(c.Replication, -1)
	if c.Observe == nil {
		c.Observe = func(string) pipeline.Observer { return pipeline.Unobserved{} }
	}
	if c.ObserveAgent == nil {
		c.ObserveAgent = pipeline.Unobserved{}
	}
	if c.Trace == nil {
		c.Trace = func(p, s string) (string, string) { return p, s }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = streaming.SystemClock{}
	}
	return c
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Validate reports all that is wrong at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if err := schemas.ValidName(c.Agent); err != nil {
		errs = append(errs, fmt.Errorf("agent: %w", err))
	}
	if err := schemas.ValidName(string(c.Namespace)); err != nil {
		errs = append(errs, fmt.Errorf("namespace: %w", err))
	}
	for _, s := range c.Streams {
		if err := schemas.ValidName(s); err != nil {
			errs = append(errs, fmt.Errorf("stream: %w", err))
		}
	}
	for t := range c.Handlers {
		words, pattern := strings.CutSuffix(t, "."+streaming.AnyType)
		if err := schemas.ValidType(words); err != nil && t != streaming.AnyType {
			if pattern {
				err = fmt.Errorf("pattern %s: %w", t, err)
			}
			errs = append(errs, fmt.Errorf("handler: %w", err))
		}
	}
	if len(c.Kafka.Brokers) == 0 {
		errs = append(errs, errors.New("no broker: name at least one as host:port"))
	}
	if c.Codec == nil {
		errs = append(errs, errors.New("no codec"))
	}
	if c.Hold && c.Unordered {
		errs = append(errs, errors.New("hold and unordered exclude each other: without order a dead letter holds up nothing"))
	}
	if c.State && c.Unordered {
		errs = append(errs, errors.New("state and unordered exclude each other: without order two messages of one key would change it at once"))
	}
	switch c.GroupProtocol {
	case kafka.ProtocolClassic:
	case kafka.ProtocolConsumer:
		if c.SessionTimeout != 0 {
			errs = append(errs, errors.New("session timeout: with the consumer group protocol the brokers set it; configure consumer.session.timeout.ms of the group there"))
		}
	default:
		errs = append(errs, fmt.Errorf("group protocol %q: use classic or consumer", c.GroupProtocol))
	}
	if c.DrainTimeout >= c.RebalanceTimeout {
		errs = append(errs, fmt.Errorf("a drain timeout of %s must be below the rebalance timeout of %s: the group throws out who takes longer to give a partition up",
			c.DrainTimeout, c.RebalanceTimeout))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Parallel", int64(c.Parallel)},
		{"MaxPending", int64(c.MaxPending)},
		{"MaxHeld", int64(c.MaxHeld)},
		{"MaxBytes", int64(c.MaxBytes)},
		{"MaxWaiting", int64(c.MaxWaiting)},
		{"HandlerTimeout", int64(c.HandlerTimeout)},
		{"DrainTimeout", int64(c.DrainTimeout)},
		{"CommitInterval", int64(c.CommitInterval)},
		{"LedgerWindow", int64(c.LedgerWindow)},
		{"LedgerSize", int64(c.LedgerSize)},
		{"StepBytes", int64(c.StepBytes)},
		{"MessageStepBytes", int64(c.MessageStepBytes)},
		{"HeldStepBytes", int64(c.HeldStepBytes)},
		{"StateBytes", int64(c.StateBytes)},
		{"Partitions", int64(c.Partitions)},
		{"SessionTimeout", int64(c.SessionTimeout)},
		{"RebalanceTimeout", int64(c.RebalanceTimeout)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative; 0 means its default", f.name))
		}
	}
	if c.AnswerBytes > pipeline.MaxAnswerBytes {
		errs = append(errs, fmt.Errorf("an answer of %d bytes cannot be kept: at most %d", c.AnswerBytes, pipeline.MaxAnswerBytes))
	}
	errs = append(errs, c.From.validate(), c.Kafka.Validate(), c.Limits.Validate(), c.Retry.Validate())
	return errors.Join(errs...)
}

// input is one input topic with its companions.
type input struct {
	topic  string
	inbox  bool
	tiers  []string
	hold   bool // the last of the tiers is the hold topic
	dead   string
	ledger string
	state  string // empty: none is kept
}

// logs are the topics whose partitions a lane reads: the input, its tiers, and, if
// it holds keys, the dead letters.
func (in input) logs() []string {
	logs := append([]string{in.topic}, in.tiers...)
	if in.hold {
		logs = append(logs, in.dead)
	}
	return logs
}

func (c Config) inputs() []input {
	of := func(topic string, inbox bool) input {
		in := input{topic: topic, inbox: inbox, dead: streaming.DeadLetterTopic(topic, c.Group), ledger: streaming.LedgerTopic(topic, c.Group)}
		for _, d := range c.Retry.Tiers {
			in.tiers = append(in.tiers, streaming.RetryTopic(topic, d, c.Group))
		}
		if c.Hold {
			in.tiers = append(in.tiers, streaming.HoldTopic(topic, c.Group))
			in.hold = true
		}
		if c.State {
			in.state = streaming.StateTopic(topic, c.Group)
		}
		return in
	}
	ins := []input{of(c.Namespace.Inbox(c.Agent), true)}
	for _, s := range c.Streams {
		ins = append(ins, of(c.Namespace.Events(s), false))
	}
	return ins
}

// TopicSpecs lists the topics that a worker of this configuration needs.
func (c Config) TopicSpecs() []kafka.TopicSpec {
	c = c.withDefaults()
	specs := []kafka.TopicSpec{ControlTopic(c.Namespace)}
	for _, f := range c.Follow {
		specs = append(specs, f.Topic)
	}
	for _, in := range c.inputs() {
		specs = append(specs, kafka.TopicSpec{Name: in.topic, Partitions: c.Partitions})
		for _, t := range in.tiers {
			specs = append(specs, kafka.TopicSpec{Name: t, Of: in.topic})
		}
		specs = append(specs, kafka.TopicSpec{Name: in.dead, Of: in.topic}, kafka.TopicSpec{Name: in.ledger, Of: in.topic})
		if in.state != "" {
			specs = append(specs, kafka.TopicSpec{Name: in.state, Of: in.topic, Compacted: true})
		}
	}
	return append(specs, c.Maintained...)
}
