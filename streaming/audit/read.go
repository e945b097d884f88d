package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// tries bounds how often a partition is read anew because the group at work has
// trimmed under the audit's eyes.
const tries = 5

var errTrimmed = errors.New("settled records were trimmed during the audit; take it again")

// Read audits the group. Latencies of messages that were done after the earlier
// report, if there is one, are kept for Report.Since.
func (a *Auditor) Read(ctx context.Context, earlier *Report) (*Report, error) {
	r := newReport(a.group.Agent)
	for _, in := range a.inputs {
		for p := range in.partitions {
			// Partition by partition: the facts of one fit in memory.
			one, err := a.partition(ctx, in, p, earlier)
			for try := 1; errors.Is(err, errTrimmed) && try < tries; try++ {
				one, err = a.partition(ctx, in, p, earlier)
			}
			if err != nil {
				return nil, fmt.Errorf("audit of %s: %s/%d: %w", a.group.Agent, in.topic, p, err)
			}
			r.add(one)
		}
	}
	return r, nil
}

// partition audits one input partition. What is read first is settled by what is
// read later: the committed offset, then the retry topics, then the dead letters
// and the ledger. So a record that moves meanwhile is seen where it was or where
// it went, never nowhere.
func (a *Auditor) partition(ctx context.Context, in input, p int32, earlier *Report) (*Report, error) {
	at := func(topic string) streaming.TopicPartition {
		return streaming.TopicPartition{Topic: topic, Partition: p}
	}
	committed, err := a.log.Committed(ctx, a.group.Group)
	if err != nil {
		return nil, err
	}
	f := newFacts(in.topic)
	if err := a.readTiers(ctx, in, p, committed, f); err != nil {
		return nil, err
	}
	from, to, err := a.bounds(ctx, in.dead, in.ledger, in.topic)
	if err != nil {
		return nil, err
	}
	seen := int64(0)
	if earlier != nil {
		seen = earlier.ledgers[at(in.ledger)]
	}
	var failed error
	err = a.log.Scan(ctx, []kafka.Range{
		{TopicPartition: at(in.dead), From: from[at(in.dead)], To: to[at(in.dead)]},
		{TopicPartition: at(in.ledger), From: from[at(in.ledger)], To: to[at(in.ledger)]},
	}, func(rec streaming.Record) {
		if rec.Topic == in.dead {
			f.deadRecord(rec)
			return
		}
		failed = errors.Join(failed, f.ledgerRecord(ctx, a.codec, rec, rec.Offset >= seen))
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	f.judge()

	r := newReport(a.group.Agent)
	r.ledgers[at(in.ledger)] = to[at(in.ledger)]
	c := counting{ctx: ctx, codec: a.codec, group: &a.group, in: in, facts: f, report: r, below: committed[at(in.topic)], at: time.Now()}
	err = a.log.Scan(ctx, []kafka.Range{{
		TopicPartition: at(in.topic), From: from[at(in.topic)], To: to[at(in.topic)],
	}}, c.record)
	r.problems.join(&f.problems)
	return r, err
}

func (a *Auditor) readTiers(ctx context.Context, in input, p int32, committed map[streaming.TopicPartition]int64, f *facts) error {
	if len(in.tiers) == 0 {
		return nil
	}
	starts, ends, err := a.bounds(ctx, in.tiers...)
	if err != nil {
		return err
	}
	var ranges []kafka.Range
	for _, t := range in.tiers {
		tp := streaming.TopicPartition{Topic: t, Partition: p}
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: max(committed[tp], starts[tp]), To: ends[tp]})
	}
	if err := a.log.Scan(ctx, ranges, f.tierRecord); err != nil {
		return err
	}
	// A copy that moved on while it was read here may have been trimmed where it
	// was, and stand where this scan had already been.
	after, err := a.log.StartOffsets(ctx, in.tiers...)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ranges, func(r kafka.Range) bool { return after[r.TopicPartition] > r.From }) {
		return errTrimmed
	}
	return nil
}

func (a *Auditor) bounds(ctx context.Context, topics ...string) (starts, ends map[streaming.TopicPartition]int64, err error) {
	if starts, err = a.log.StartOffsets(ctx, topics...); err != nil {
		return nil, nil, err
	}
	ends, err = a.log.EndOffsets(ctx, topics...)
	return starts, ends, err
}

// counting counts the records of one input partition.
type counting struct {
	ctx    context.Context
	codec  *schemas.Codec
	group  *Group
	in     input
	facts  *facts
	report *Report
	below  int64 // the committed offset
	at     time.Time
}

// record gives one record its term. The terms are asked for one by one: a
// record that has two, or none, is a problem.
func (c *counting) record(rec streaming.Record) {
	c.report.Appended[rec.Topic]++
	if rec.Offset >= c.below || rec.Offset < c.group.Begins[streaming.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}] {
		return
	}
	c.report.Accepted++
	env, bad := schemas.DecodeEnvelope(&rec)
	done, isDone := c.facts.done[rec.Offset]
	dead, isDead := c.facts.dead[rec.Offset]
	live, isLive := c.facts.live[rec.Offset]
	// A dead letter that was redriven is not the latest copy any more. Attempts
	// were counted anew.
	earlier := dead.earlier
	if isDead && (isDone && done.moves > dead.moves || isLive && live.moves > dead.moves) {
		isDead = false
		earlier += dead.attempts
	}
	terms := 0
	count := func(n *int64) { *n++; terms++ }
	if isDone {
		count(&c.report.Done)
		c.report.DoneByType[env.Type]++
		c.report.redelivered(earlier + done.attempts)
		sent := env.Time
		if sent.IsZero() {
			sent = rec.Timestamp
		}
		c.report.latency(done.at.Sub(sent), done.recent)
	}
	if isDead {
		count(&c.report.Dead)
		c.report.DeadByReason[dead.reason]++
		c.report.redelivered(earlier + dead.attempts)
	}
	if isLive {
		count(&c.report.Retrying)
		if live.due.After(c.at) {
			c.report.Scheduled++
		}
		c.report.redelivered(earlier + live.attempts)
	}
	if terms == 0 && bad == nil && (!c.concerns(&env) || c.filtered(&rec, &env)) {
		count(&c.report.Skipped)
	}
	if terms == 0 {
		id := identity(&env, rec.Topic, rec.Partition, rec.Offset)
		if e, known := c.facts.known[id]; known && e.origin != rec.Offset {
			count(&c.report.Duplicates)
		}
	}
	if terms != 1 {
		c.report.problems.add("%s/%d offset %d (%s %s) has %s", rec.Topic, rec.Partition, rec.Offset, env.Type, env.ID,
			map[bool]string{true: "ended nowhere", false: "ended twice"}[terms == 0])
	}
}

// filtered reports whether a filter of the group passes a message over.
func (c *counting) filtered(rec *streaming.Record, env *streaming.Envelope) bool {
	f := c.group.Filters[env.Type]
	if f == nil {
		return false
	}
	matches, err := f.Match(c.ctx, c.codec, env, string(rec.Key), rec.Value)
	if err != nil {
		var dead *streaming.DeadLetterError
		if !errors.As(err, &dead) {
			c.report.problems.add("%s/%d offset %d: whether it is filtered cannot be said: %v", rec.Topic, rec.Partition, rec.Offset, err)
		}
		return false
	}
	return !matches
}

// concerns reports whether a message on a stream is for this group. What is in
// an inbox always is.
func (c *counting) concerns(env *streaming.Envelope) bool {
	if c.in.inbox {
		return true
	}
	return (env.Recipient == "" || env.Recipient == c.group.Agent) && streaming.HandlesType(c.group.Types, env.Type)
}
