package telemetry

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Names of labels. Every metric carries agent; topic is the input topic,
// except on the sent counter, where it is the destination. They stand for
// OpenTelemetry's messaging.consumer.group.name and
// messaging.destination.name, so that one selector works on all metrics.
const (
	labelAgent  = "agent"
	labelTopic  = "topic"
	labelReason = "reason"
	// labelError is error.type of the semantic conventions: the closed reason,
	// absent (empty) where the attempt succeeded.
	labelError = "error_type"
)

// otherTopic is the destination label once an agent has sent to maxDestinations
// topics: a reply goes where the requester says, so the set is not ours to bound.
const (
	otherTopic      = "other"
	maxDestinations = 64
)

// semconvBuckets are the boundaries that the OpenTelemetry messaging
// conventions advise, in seconds.
var semconvBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}

// endToEndBuckets reach from a hop in memory to a message that waited in the
// longest retry tiers.
var endToEndBuckets = []float64{
	.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600,
}

// latenessBuckets are fine, because a retry is meant to start within
// milliseconds of its due time.
var latenessBuckets = []float64{
	.001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .15, .2, .3, .5, .75, 1, 2, 3, 5, 10,
}

// Metrics holds all collectors of a process.
type Metrics struct {
	consumed, sent                  *prometheus.CounterVec
	redelivered, duplicate, skipped *prometheus.CounterVec
	retries, dead                   *prometheus.CounterVec
	process, endToEnd, lateness     *prometheus.HistogramVec
	answered, notKept               *prometheus.CounterVec
	inFlight, inFlightBytes         *prometheus.GaugeVec
	lag                             *lagCollector
	pressure                        pressure
	window, windowLimit             *prometheus.GaugeVec
	outbox                          outboxMetrics
	repliesDropped, routeErrors     *prometheus.CounterVec
	budgets, requestsFailed         *prometheus.CounterVec
	directorySkipped                prometheus.Counter
	negotiations                    negotiations
	boards                          boardMetrics

	mu     sync.Mutex
	agents map[string]*Agent
}

// New makes the collectors and registers them with reg. Where a name is taken
// it returns an error that joins all refusals.
func New(reg prometheus.Registerer) (*Metrics, error) {
	input := []string{labelAgent, labelTopic}
	byReason := []string{labelAgent, labelTopic, labelReason}
	m := &Metrics{
		consumed: counter("messaging_client_consumed_messages_total",
			"Records of the input topic handed to the delivery pipeline.",
			input, messaging("poll")),
		sent: counter("messaging_client_sent_messages_total",
			"Messages acknowledged by the broker, by destination topic.",
			input, messaging("send")),
		process: histogram("messaging_process_duration_seconds",
			"Time that a handler took for one attempt. error_type is the closed reason of a failed attempt and absent on success.",
			semconvBuckets, []string{labelAgent, labelTopic, labelError}, messaging("process")),
		endToEnd: histogram("parley_end_to_end_latency_seconds",
			"Time from the sending of a message (ce_time, else the record timestamp) to its settlement.",
			endToEndBuckets, input, nil),
		lateness: histogram("parley_retry_lateness_seconds",
			"Time from the due time of a retry to the start of its attempt.",
			latenessBuckets, input, nil),
		redelivered: counter("parley_redeliveries_total",
			"Handler attempts after the first of their message.", input, nil),
		duplicate: counter("parley_duplicates_total",
			"Records not handled because their message was already settled.", input, nil),
		answered: counter("parley_answered_again_total",
			"Duplicates of answered requests that got the same answer again.", input, nil),
		notKept: counter("parley_answers_not_kept_total",
			"Answers too large to be kept for duplicates of their requests.", input, nil),
		skipped: counter("parley_skipped_total",
			"Records passed without a handler: filtered, or of a type that the agent does not handle.", input, nil),
		retries: counter("parley_retries_total",
			"Messages moved to a retry topic, by reason.", byReason, nil),
		dead: counter("parley_dead_letters_total",
			"Messages moved to a dead-letter topic, by reason.", byReason, nil),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_in_flight",
			Help: "Records taken in and not yet settled.",
		}, input),
		inFlightBytes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_in_flight_bytes",
			Help: "Bytes in memory of records that are not settled, and of values that wait in retry topics.",
		}, input),
		lag: newLagCollector(time.Now),
		window: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_ledger_window_seconds",
			Help: "How far back the ledger remembers every settled message, the minimum over the partitions that this worker owns.",
		}, input),
		windowLimit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parley_ledger_window_configured_seconds",
			Help: "How far back the ledger is meant to remember. A shorter window is cut by the ledger's bound in size.",
		}, input),
		pressure: newPressure(),
		outbox:   newOutboxMetrics(),

		repliesDropped: newRepliesDropped(),
		negotiations:   newNegotiations(),
		boards:         newBoardMetrics(),
		routeErrors:    newRouteErrors(),
		agents:         map[string]*Agent{},
		budgets:        newBudgets(),

		requestsFailed: newRequestsFailed(), directorySkipped: newDirectorySkipped(),
	}
	var errs []error
	for _, c := range append([]prometheus.Collector{
		m.consumed, m.sent, m.process, m.endToEnd, m.lateness, m.redelivered, m.duplicate,
		m.skipped, m.retries, m.dead, m.inFlight, m.inFlightBytes, m.lag, m.answered, m.notKept, m.window, m.windowLimit,
		m.outbox.sent, m.outbox.parked, m.outbox.oldest,
		m.repliesDropped, m.requestsFailed, m.budgets, m.directorySkipped, m.routeErrors,
	}, slices.Concat(m.pressure.collectors(), m.negotiations.collectors(), m.boards.collectors())...) {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// messaging returns the attributes that the semantic conventions require and
// that are the same on every series of a metric.
func messaging(operation string) prometheus.Labels {
	return prometheus.Labels{"messaging_system": "kafka", "messaging_operation_name": operation}
}

func counter(name, help string, labels []string, constant prometheus.Labels) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: constant}, labels)
}

// histogram has classic buckets for the text formats and a native histogram
// for scrapers that ask for it. Zero would mean unlimited buckets.
func histogram(name, help string, buckets []float64, labels []string, constant prometheus.Labels) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            name,
		Help:                            help,
		ConstLabels:                     constant,
		Buckets:                         buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// Agent returns the metrics of one agent, the same for the same name.
func (m *Metrics) Agent(agent string) *Agent {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[agent]
	if a == nil {
		a = &Agent{m: m, name: agent, inputs: map[string]*Input{}}
		m.agents[agent] = a
	}
	return a
}

// Agent is the metrics of one agent. It may be used by many goroutines.
type Agent struct {
	m    *Metrics
	name string

	mu     sync.Mutex // guards inputs and the making of destinations
	inputs map[string]*Input

	sent         sync.Map // topic to prometheus.Counter
	destinations int
}

// Sent counts n messages that the broker acknowledged in that topic. Called
// with zero at start it makes the series, so that none is missing. Past 64
// topics the label is "other".
func (a *Agent) Sent(topic string, n int) {
	c, ok := a.sent.Load(topic)
	if !ok {
		c = a.destination(topic)
	}
	c.(prometheus.Counter).Add(float64(n))
}

func (a *Agent) destination(topic string) prometheus.Counter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.sent.Load(topic); ok {
		return c.(prometheus.Counter)
	}
	if a.destinations >= maxDestinations {
		// Not kept: the map must stay as bounded as the label.
		return a.m.sent.WithLabelValues(a.name, otherTopic)
	}
	a.destinations++
	c := a.m.sent.WithLabelValues(a.name, topic)
	a.sent.Store(topic, c)
	return c
}

// Input returns the metrics of one input topic, the same for the same name,
// with every series made: a counter that is zero is not missing.
func (a *Agent) Input(topic string) *Input {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := a.inputs[topic]; i != nil {
		return i
	}
	m := a.m
	i := &Input{
		agent:         a,
		topic:         topic,
		consumed:      m.consumed.WithLabelValues(a.name, topic),
		processed:     m.process.WithLabelValues(a.name, topic, ""),
		endToEnd:      m.endToEnd.WithLabelValues(a.name, topic),
		lateness:      m.lateness.WithLabelValues(a.name, topic),
		redelivered:   m.redelivered.WithLabelValues(a.name, topic),
		duplicate:     m.duplicate.WithLabelValues(a.name, topic),
		answered:      m.answered.WithLabelValues(a.name, topic),
		notKept:       m.notKept.WithLabelValues(a.name, topic),
		noInbox:       m.repliesDropped.WithLabelValues(a.name, RepliesNoInbox),
		skipped:       m.skipped.WithLabelValues(a.name, topic),
		inFlight:      m.inFlight.WithLabelValues(a.name, topic),
		inFlightBytes: m.inFlightBytes.WithLabelValues(a.name, topic),
		retries:       map[streaming.Reason]prometheus.Counter{},
		dead:          map[streaming.Reason]prometheus.Counter{},
		failed:        map[streaming.Reason]prometheus.Observer{},
		lag:           m.lag.input(a.name, topic),
		window: &ledgerWindow{
			effective: m.window.WithLabelValues(a.name, topic), configured: m.windowLimit.WithLabelValues(a.name, topic),
			partitions: map[int32]time.Duration{},
		},
	}
	for _, r := range streaming.Reasons() {
		i.retries[r] = m.retries.WithLabelValues(a.name, topic, string(r))
		i.dead[r] = m.dead.WithLabelValues(a.name, topic, string(r))
	}
	// A histogram is a score of series: only the reasons that every handler
	// can give are made here, the others on first use.
	for _, r := range []streaming.Reason{
		streaming.ReasonHandler, streaming.ReasonPanic, streaming.ReasonTimeout, streaming.ReasonPermanent,
	} {
		i.failed[r] = m.process.WithLabelValues(a.name, topic, string(r))
	}
	for _, unit := range knownUnits {
		m.budgets.WithLabelValues(a.name, unit)
	}
	a.inputs[topic] = i
	return i
}

// Input is the metrics of one input topic of an agent. Its methods may be
// called by many goroutines, do not block and, on the way of a message that
// succeeds, do not allocate.
type Input struct {
	agent *Agent
	topic string

	consumed, redelivered, duplicate, skipped prometheus.Counter
	processed, endToEnd, lateness             prometheus.Observer
	inFlight, inFlightBytes                   prometheus.Gauge
	answered, notKept, noInbox                prometheus.Counter
	lag                                       *inputLag
	window                                    *ledgerWindow

	// Written before the input is handed out and only read after.
	retries, dead map[streaming.Reason]prometheus.Counter
	failed        map[streaming.Reason]prometheus.Observer
}

// Consumed counts n records of the input topic taken into the pipeline.
func (i *Input) Consumed(n int) { i.consumed.Add(float64(n)) }

// Sent counts n messages acknowledged in that destination topic. It is
// Agent.Sent, here so that the pipeline of one input needs one port.
func (i *Input) Sent(topic string, n int) { i.agent.Sent(topic, n) }

// Processed records one handler attempt. The empty reason is success.
func (i *Input) Processed(reason streaming.Reason, d time.Duration) {
	o := i.processed
	if reason != "" {
		reason = closed(reason)
		var ok bool
		if o, ok = i.failed[reason]; !ok {
			o = i.agent.m.process.WithLabelValues(i.agent.name, i.topic, string(reason))
		}
	}
	o.Observe(seconds(d))
}

// EndToEnd records the time from ce_time, or from the record timestamp where
// that is absent, to settlement. A negative time, which clocks of two machines
// can give, counts as zero.
func (i *Input) EndToEnd(d time.Duration) { i.endToEnd.Observe(seconds(d)) }

// Redelivered counts a handler attempt after the first of its message.
func (i *Input) Redelivered() { i.redelivered.Inc() }

// Duplicate counts a record whose message was already settled.
func (i *Input) Duplicate() { i.duplicate.Inc() }

// Skipped counts a record that was passed without a handler.
func (i *Input) Skipped() { i.skipped.Inc() }

// Retrying counts a message whose copy a retry topic has acknowledged.
func (i *Input) Retrying(reason streaming.Reason) { i.retries[closed(reason)].Inc() }

// DeadLettered counts a message whose copy the dead-letter topic has
// acknowledged.
func (i *Input) DeadLettered(reason streaming.Reason) { i.dead[closed(reason)].Inc() }

// InFlight adds delta to the records taken in and not yet settled.
func (i *Input) InFlight(delta int) { i.inFlight.Add(float64(delta)) }

// InFlightBytes adds delta to the bytes in memory of what is not settled.
func (i *Input) InFlightBytes(delta int) { i.inFlightBytes.Add(float64(delta)) }

// Lag says that the oldest unsettled record of a partition has age d now; zero
// says that nothing is unsettled. The gauge is the maximum over the partitions,
// at the time of the scrape: an age that is not zero grows until the next call,
// so that a worker that has stopped calling does not look well.
func (i *Input) Lag(partition int32, d time.Duration) { i.lag.set(partition, d) }

// AnsweredAgain counts a duplicate of a request that got the same answer again.
func (i *Input) AnsweredAgain() { i.answered.Inc() }

// AnswerNotKept counts an answer that was too large to be kept for duplicates.
func (i *Input) AnswerNotKept() { i.notKept.Inc() }

// AnswerDropped counts an answer of the agent to a sender without an inbox.
func (i *Input) AnswerDropped() { i.noInbox.Inc() }

// LedgerWindow says how far back the ledger of a partition remembers, and how
// far it is meant to.
func (i *Input) LedgerWindow(partition int32, effective, configured time.Duration) {
	i.window.set(partition, effective, configured)
}

// LaneClosed forgets a partition that the worker no longer owns: its lag is
// another worker's to tell, and so is its window.
func (i *Input) LaneClosed(partition int32) {
	i.lag.forget(partition)
	i.window.forget(partition)
}

// RetryLateness records how long after its due time a retry began.
func (i *Input) RetryLateness(d time.Duration) { i.lateness.Observe(seconds(d)) }

// closed keeps the label bounded whatever a caller passes.
func closed(r streaming.Reason) streaming.Reason { return streaming.ParseReason(string(r)) }

func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
