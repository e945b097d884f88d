package streamtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

func typeOf(m schemas.Message) string { return schemas.MessageType(m.Schema()) }

// place is where a message stands in an input topic: the first record of it.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// keyed is a message under one key: who sends it under another has sent it twice.
type keyed struct {
	msgID
	key string
}

// log is what the topics say in the end, read by a read_committed reader.
type log struct {
	records map[string][]streaming.Record // by topic; those of a partition in order
	input   []map[keyed]place             // by agent

	elsewhere map[msgID][]string // the topics that a message stands in; made when it is needed
}

func (m *simulator) read(ctx context.Context) (*log, error) {
	topics, err := m.log.Topics(ctx, "")
	if err != nil {
		return nil, err
	}
	var names []string
	for t := range topics {
		names = append(names, t)
	}
	starts, err := m.archive.StartOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	ends, err := m.log.EndOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: starts[tp], To: end})
	}
	l := &log{records: make(map[string][]streaming.Record)}
	err = m.archive.Scan(ctx, ranges, func(rec streaming.Record) {
		l.records[rec.Topic] = append(l.records[rec.Topic], rec)
	})
	for _, a := range m.agents {
		places := make(map[keyed]place)
		for _, topic := range a.inputs() {
			for i := range l.records[topic] {
				rec := &l.records[topic][i]
				env, _ := schemas.DecodeEnvelope(rec)
				id := keyed{msgID{env.Source, env.ID}, string(rec.Key)}
				if old, known := places[id]; !known || old.topic == topic && old.partition == rec.Partition && old.offset > rec.Offset {
					places[id] = place{topic, rec.Partition, rec.Offset}
				}
			}
		}
		l.input = append(l.input, places)
	}
	return l, err
}

func (a *agent) inputs() []string {
	topics := []string{a.cfg.Namespace.Inbox(a.cfg.Agent)}
	for _, s := range a.cfg.Streams {
		topics = append(topics, a.cfg.Namespace.Events(s))
	}
	return topics
}

// strict says that no takeover from a worker that was alive weakens what is
// promised.
func (a *agent) strict() bool { return a.cfg.ExactlyOnce || !a.takeover }

func (m *simulator) violation(format string, args ...any) {
	m.violations = append(m.violations, fmt.Sprintf(format, args...))
}

// check holds what the topics and the handlers' runs say against what is
// promised.
func (m *simulator) check(ctx context.Context, stuck string) error {
	if stuck != "" {
		m.violation("stuck: %s", stuck)
	}
	m.violations = append(m.violations, m.history.said...)
	l, err := m.read(ctx)
	if err != nil {
		return err
	}
	byAgent := make([][]*run, len(m.agents))
	for _, r := range m.history.runs {
		byAgent[r.agent] = append(byAgent[r.agent], r)
	}
	if m.s.Check != nil {
		m.violations = append(m.violations, m.s.Check(l.records)...)
	}
	outputs := m.outputs(l)
	m.dead = make(map[string]int)
	for i, a := range m.agents {
		if stuck == "" {
			if err := m.checkConservation(ctx, a); err != nil {
				return err
			}
		}
		ended := m.checkEnds(ctx, a, l, byAgent[i])
		m.checkOutputs(a, l, byAgent[i], ended, l.input[i], outputs)
		m.checkRuns(a, byAgent[i], l.input[i], ended)
		m.checkOrder(a, byAgent[i], l.input[i], ended)
		m.checkOutputOrder(a, byAgent[i], l.input[i], outputs, ended)
		m.checkDelays(a, byAgent[i])
		m.checkTimes(a, byAgent[i], ended)
		m.checkLateness(a, byAgent[i])
		m.checkPauses(a, byAgent[i])
		m.checkHolds(a, byAgent[i], l.input[i])
		m.checkSteps(a)
		m.checkCopies(a, l)
	}
	return nil
}

// checkConservation: each input record is exactly one of done, skipped,
// duplicate, retrying and dead.
func (m *simulator) checkConservation(ctx context.Context, a *agent) error {
	auditor, err := audit.New(ctx, m.archive, m.wire.codec, a.group())
	if err != nil {
		return err
	}
	report, err := auditor.Read(ctx, nil)
	if err != nil {
		return err
	}
	appended := int64(0)
	for _, n := range report.Appended {
		appended += n
	}
	c := report.Conservation()
	if c != audit.Exact && (a.strict() || strings.Contains(c, "ended nowhere")) {
		m.violation("conservation: %s", c)
	}
	if report.Accepted != appended || report.Retrying != 0 {
		m.violation("conservation: %s: %d of %d records are accepted and %d still wait", a.cfg.Agent, report.Accepted, appended, report.Retrying)
	}
	return nil
}

// ends is what the companions of an agent say of its messages.
type ends struct {
	done map[msgID]bool
	dead map[msgID]bool // it may have been redriven since
}

// checkEnds: a message has one end, and one that is done has been handled.
func (m *simulator) checkEnds(ctx context.Context, a *agent, l *log, runs []*run) ends {
	handled := make(map[msgID]bool)
	for _, r := range runs {
		if r.finished && r.err == nil {
			handled[r.id] = true
		}
	}
	e := ends{done: make(map[msgID]bool), dead: make(map[msgID]bool)}
	for _, topic := range a.inputs() {
		ledger := streaming.LedgerTopic(topic, a.cfg.Group)
		done, latest := make(map[streaming.MessageID]int), make(map[streaming.MessageID]time.Time)
		visible := make(map[streaming.TopicPartition]map[int64]bool)
		for i := range l.records[topic] {
			tp := streaming.TopicPartition{Topic: topic, Partition: l.records[topic][i].Partition}
			if visible[tp] == nil {
				visible[tp] = make(map[int64]bool)
			}
			visible[tp][l.records[topic][i].Offset] = true
		}
		for _, rec := range l.records[ledger] {
			marks, err := schemas.DecodeMarks(ctx, m.wire.codec, rec.Value)
			if err != nil {
				m.violation("effects: %s offset %d: %v", ledger, rec.Offset, err)
				continue
			}
			for _, mark := range marks {
				if mark.Kind != streaming.MarkDone {
					continue
				}
				if at, known := latest[mark.ID]; !known || !a.forgotten(mark.Time.Sub(at)) {
					done[mark.ID]++
				}
				latest[mark.ID] = mark.Time
				if tp := (streaming.TopicPartition{Topic: topic, Partition: rec.Partition}); !visible[tp][mark.Origin] {
					m.violation("aborted reads: %s/%d: offset %d is done, but no read_committed reader sees it", topic, rec.Partition, mark.Origin)
				}
			}
		}
		dead := make(map[msgID]int)
		for i := range l.records[streaming.DeadLetterTopic(topic, a.cfg.Group)] {
			env, _ := schemas.DecodeEnvelope(&l.records[streaming.DeadLetterTopic(topic, a.cfg.Group)][i])
			if env.ID != "" {
				dead[msgID{env.Source, env.ID}]++
			}
			if _, hop, ok, _ := schemas.SplitHop(l.records[streaming.DeadLetterTopic(topic, a.cfg.Group)][i].Headers); ok {
				m.dead[string(hop.Reason)]++
			}
		}
		seen := make(map[msgID]bool)
		for id, at := range l.input[a.number] {
			if at.topic != topic || id.id == "" || seen[id.msgID] {
				continue
			}
			seen[id.msgID] = true
			id := id.msgID
			n := done[streaming.HashID(id.source, id.id)]
			if n > 0 {
				e.done[id] = true
			}
			if dead[id] > 0 {
				e.dead[id] = true
			}
			switch {
			case n > 0 && !handled[id]:
				m.violation("effects: %s: %s is done, but no handler has succeeded", a.cfg.Agent, id)
			case n > 1 && a.strict():
				m.violation("effects: %s: %s is done %d times", a.cfg.Agent, id, n)
			case n > 0 && dead[id] > 0 && a.strict() && !a.redriven:
				m.violation("effects: %s: %s is done and dead", a.cfg.Agent, id)
			case dead[id] > 1 && a.strict() && !a.redriven:
				m.violation("effects: %s: %s is dead %d times", a.cfg.Agent, id, dead[id])
			}
		}
	}
	return e
}

// checkRuns: a handler runs again only where a fault allows it.
func (m *simulator) checkRuns(a *agent, runs []*run, input map[keyed]place, e ends) {
	keys := make(map[msgID]int) // each has its own count of attempts
	for id := range input {
		keys[id.msgID]++
	}
	calm := m.plan.calm() && m.history.hits[handlerKills] == 0
	attempts := make(map[msgID]int)
	inMemory, again := make(map[msgID]bool), make(map[msgID]bool)
	succeeded := make(map[msgID]bool)
	refused := make(map[string]bool) // keys of which a success did not count: exactly once neither do those after it
	for _, r := range runs {
		if a.takeover {
			return // a worker that was cut off cannot know what the new owner has done
		}
		if most := a.attempts(); r.attempt > most {
			m.violation("attempts: %s: %s is attempt %d of %d", a.cfg.Agent, r.id, r.attempt, most)
		}
		if r.attempt < attempts[r.id] && !inMemory[r.id] && !e.redriven(a, r) && keys[r.id] == 1 {
			m.violation("attempts: %s: %s has attempt %d after attempt %d", a.cfg.Agent, r.id, r.attempt, attempts[r.id])
		}
		if calm && keys[r.id] == 1 && r.attempt == attempts[r.id] && !again[r.id] && !refused[r.key] {
			m.violation("effects: %s: %s has attempt %d twice without a fault", a.cfg.Agent, r.id, r.attempt)
		}
		refused[r.key] = refused[r.key] || succeeded[r.id] && r.attempt > attempts[r.id] && a.cfg.ExactlyOnce && r.key != "" && !a.cfg.Unordered
		succeeded[r.id] = r.finished && r.err == nil
		again[r.id] = r.again
		attempts[r.id] = max(attempts[r.id], r.attempt)
		inMemory[r.id] = inMemory[r.id] || r.inMemory
		known := m.history.marked
		if e.redriven(a, r) {
			known = m.history.dones
		}
		for _, topic := range a.inputs() {
			at, marked := known[msgHash{streaming.LedgerTopic(topic, a.cfg.Group), streaming.HashID(r.id.source, r.id.id)}]
			if marked && r.start.After(at) && !a.cfg.ExactlyOnce && !a.forgotten(r.start.Sub(at)) {
				m.violation("effects: %s: %s is handled %s after its mark", a.cfg.Agent, r.id, r.start.Sub(at))
			}
		}
	}
}

// forgotten reports whether a message that is done for so long may be handled again:
// the ledger's window is over.
func (a *agent) forgotten(since time.Duration) bool {
	return a.cfg.LedgerWindow > 0 && since > a.cfg.LedgerWindow
}

// redriven reports whether a run may be one after a redrive: attempts start anew,
// and the message comes after those of its key that have passed it.
func (e ends) redriven(a *agent, r *run) bool { return a.redriven && e.dead[r.id] }

// attempts is how often the policy lets a message be tried at most.
func (a *agent) attempts() int {
	most := a.cfg.Retry.Attempts
	for _, r := range a.cfg.Retry.Rules {
		most = max(most, r.Attempts)
	}
	return most
}

// checkOrder: the messages of a key are started in the order of their origins. A
// scheduled one may be passed until it is due, whenever that is where a clock has
// jumped. In doubt of its handler a lane starts a message when it sends the mark
// that says so, and the handler runs when that is acknowledged: a message that is
// due in between comes after it. Exactly once the run that counts is the last of its
// message: what was handled before may have been lost with its transaction, together with
// all that came after it.
func (m *simulator) checkOrder(a *agent, runs []*run, input map[keyed]place, e ends) {
	if a.takeover || a.cfg.Unordered {
		return
	}
	type lane struct {
		topic     string
		partition int32
		key       string
	}
	if a.cfg.ExactlyOnce {
		runs = e.counting(runs)
	}
	last := make(map[lane]*run)
	for _, r := range runs {
		at, known := input[keyed{r.id, r.key}]
		if !known {
			m.violation("effects: %s: %s is handled, but stands in no input topic", a.cfg.Agent, r.id)
			continue
		}
		k := lane{at.topic, at.partition, r.key}
		before := last[k]
		passed := e.redriven(a, r) && !a.cfg.Hold
		if r.key == "" || before == nil || passed {
			if !passed {
				last[k] = r // without a key there is no order
			}
			continue
		}
		if from := input[keyed{before.id, before.key}]; from.offset > at.offset {
			if r.due.IsZero() || before.started.After(r.due.Add(time.Millisecond)) && !a.skewed && !m.history.inDoubt(before.id) { // due times are rounded up to milliseconds
				scheduled := ""
				if !r.due.IsZero() {
					scheduled = fmt.Sprintf(", which has started %s after the former was due", before.started.Sub(r.due))
				}
				m.violation("order: %s: key %s: %s (origin %d) is handled after %s (origin %d)%s",
					a.cfg.Agent, r.key, r.id, at.offset, before.id, from.offset, scheduled)
			}
			continue
		}
		last[k] = r
	}
}

// counting leaves out the runs that were lost: what was handled again later, under its
// key or with success under another, and what succeeded and is not done, as it has expired
// since.
func (e ends) counting(runs []*run) []*run {
	last, success := make(map[keyed]*run), make(map[msgID]*run)
	for _, r := range runs {
		last[keyed{r.id, r.key}] = r
		if r.finished && r.err == nil {
			success[r.id] = r
		}
	}
	return slices.DeleteFunc(slices.Clone(runs), func(r *run) bool {
		succeeded := r.finished && r.err == nil
		return last[keyed{r.id, r.key}] != r || succeeded && (success[r.id] != r || !e.done[r.id] && !r.expiry.IsZero())
	})
}

// checkTimes: nothing is handled before it is to be delivered, nor after it has
// expired, by the clock of the worker. What was to be delivered once, by a
// clock before that jumped, has its time behind it; so has what is redriven.
func (m *simulator) checkTimes(a *agent, runs []*run, e ends) {
	seen := make(map[msgID]bool)
	for _, r := range runs {
		first := !seen[r.id] && !e.redriven(a, r) && !a.skewed
		seen[r.id] = true
		if first && r.started.Before(r.due) {
			m.violation("delays: %s: %s is handled %s before it is to be delivered", a.cfg.Agent, r.id, r.due.Sub(r.started))
		}
		if !r.expiry.IsZero() && r.started.After(r.expiry) {
			m.violation("effects: %s: %s is handled %s after it has expired", a.cfg.Agent, r.id, r.started.Sub(r.expiry))
		}
	}
}

// checkDelays: no retry is early.
//
// Due is by the clock of the worker that has failed the attempt before, and early
// by that of the worker that makes the next: a clock that jumps makes retries
// early or late by as much, and no rule can know better.
func (m *simulator) checkDelays(a *agent, runs []*run) {
	type attempt struct {
		id     msgID
		number int
	}
	due := make(map[attempt]time.Time)
	for _, r := range runs {
		if r.attempt > 1 {
			switch from, known := due[attempt{r.id, r.attempt}]; {
			case !known:
				m.violation("delays: %s: %s has attempt %d, but no attempt before has failed", a.cfg.Agent, r.id, r.attempt)
			case a.skewed && m.history.inDoubt(r.id): // started before the jump, it may have run after it
			case r.started.Before(from):
				m.violation("delays: %s: attempt %d of %s is %s early", a.cfg.Agent, r.attempt, r.id, from.Sub(r.started))
			}
		}
		if r.finished && !r.dead && !r.again { // a success fails when an output is refused
			next := attempt{r.id, r.attempt + 1}
			if at, known := due[next]; !known || r.ended.Add(r.delay).Before(at) {
				due[next] = r.ended.Add(r.delay)
			}
		}
	}
}
