package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// facts are what the companions of one input partition say.
type facts struct {
	topic string // the input topic

	done  map[int64]doneMark            // by origin
	dead  map[int64]deadLetter          // by origin: the latest
	known map[streaming.MessageID]ended // what has ended, by message
	tiers []tierCopy
	live  map[int64]tierCopy // by origin: the latest live copy, once judged

	problems problems
}

type doneMark struct {
	moves, attempts int
	at              time.Time
	recent          bool // written after the audit that this one continues
}

type deadLetter struct {
	moves, attempts int // attempts since it was redriven last, if it was
	earlier         int // attempts before that
	reason          streaming.Reason
}

type tierCopy struct {
	id              streaming.MessageID
	origin          int64
	moves, attempts int
	due             time.Time // ce_deliverat of a copy that was not tried yet, or zero
}

// ended says which copies of a message have ended.
type ended struct {
	done   bool  // all of them
	moves  int   // those with moves up to this
	origin int64 // of the record that says so: it is no duplicate of itself
}

func newFacts(topic string) *facts {
	return &facts{
		topic: topic,
		done:  make(map[int64]doneMark),
		dead:  make(map[int64]deadLetter),
		known: make(map[streaming.MessageID]ended),
		live:  make(map[int64]tierCopy),
	}
}

// mark takes one mark of the ledger, in order.
func (f *facts) mark(m streaming.Mark, recent bool) {
	switch m.Kind {
	case streaming.MarkDone:
		f.known[m.ID] = ended{done: true, origin: m.Origin}
		if _, again := f.done[m.Origin]; !again {
			f.done[m.Origin] = doneMark{moves: m.Moves, attempts: m.Attempts, at: m.Time, recent: recent}
		}
	case streaming.MarkDead:
		f.endUpTo(m.ID, m.Moves, m.Origin)
	}
}

func (f *facts) endUpTo(id streaming.MessageID, moves int, origin int64) {
	if e := f.known[id]; !e.done && moves > e.moves {
		f.known[id] = ended{moves: moves, origin: origin}
	}
}

// ledgerRecord takes one record of the ledger. A mark that cannot be read is
// skipped by the worker too: it is a problem, not an end.
func (f *facts) ledgerRecord(ctx context.Context, codec *schemas.Codec, rec streaming.Record, recent bool) error {
	marks, err := schemas.DecodeMarks(ctx, codec, rec.Value)
	if _, bad := schemas.ErrorReason(err); bad {
		f.problems.add("%s/%d offset %d: the marks cannot be read", rec.Topic, rec.Partition, rec.Offset)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	for _, m := range marks {
		f.mark(m, recent)
	}
	return nil
}

// deadRecord takes one record of the dead-letter topic. What a redrive notes
// there is no copy of anything.
func (f *facts) deadRecord(rec streaming.Record) {
	id, _, hop, ok := f.copyOf(rec)
	if !ok {
		return
	}
	f.endUpTo(id, hop.Moves, hop.Origin.Offset)
	if known, again := f.dead[hop.Origin.Offset]; !again || hop.Moves > known.moves {
		f.dead[hop.Origin.Offset] = deadLetter{
			moves: hop.Moves, attempts: hop.Attempt, earlier: known.earlier + known.attempts, reason: hop.Reason,
		}
	}
}

// tierRecord takes one record of a retry topic.
func (f *facts) tierRecord(rec streaming.Record) {
	id, env, hop, ok := f.copyOf(rec)
	if !ok {
		return
	}
	c := tierCopy{id: id, origin: hop.Origin.Offset, moves: hop.Moves, attempts: hop.Attempt}
	if hop.Attempt == 0 {
		c.due = env.DeliverAt
	}
	f.tiers = append(f.tiers, c)
}

// copyOf reads a record of a companion topic. What is not a copy of a record of
// this input topic accounts for none.
func (f *facts) copyOf(rec streaming.Record) (streaming.MessageID, streaming.Envelope, streaming.Hop, bool) {
	original, hop, ok, err := schemas.SplitHop(rec.Headers)
	if !ok || err != nil || hop.Origin.Topic != f.topic || hop.Moves < 1 {
		return streaming.MessageID{}, streaming.Envelope{}, hop, false
	}
	rec.Headers = original
	env, _ := schemas.DecodeEnvelope(&rec)
	return identity(&env, f.topic, hop.Origin.Partition, hop.Origin.Offset), env, hop, true
}

// identity is the idempotency key of a record. One whose envelope cannot be
// read is known by its place in the input topic.
func identity(env *streaming.Envelope, topic string, partition int32, offset int64) streaming.MessageID {
	if env.Source == "" || env.ID == "" {
		return streaming.HashOrigin(topic, partition, offset)
	}
	return streaming.HashID(env.Source, env.ID)
}

// judge says which copies in retry topics are live, once all facts are known: a
// copy has ended with its message, by a fact that covers its moves, or by
// another copy of its message with more moves.
func (f *facts) judge() {
	top := make(map[streaming.MessageID]int)
	for _, c := range f.tiers {
		top[c.id] = max(top[c.id], c.moves)
	}
	for _, c := range f.tiers {
		e := f.known[c.id]
		if e.done || c.moves <= e.moves || c.moves < top[c.id] {
			continue
		}
		f.live[c.origin] = c
	}
	f.tiers = nil
	for _, c := range f.live {
		if _, ok := f.known[c.id]; !ok {
			f.known[c.id] = ended{origin: c.origin} // a duplicate of it is one while it waits, too
		}
	}
}
