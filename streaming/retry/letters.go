package retry

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// letter is one selected dead letter; its value is read again when its turn
// comes.
type letter struct {
	id     streaming.MessageID
	offset int64 // in the dead-letter partition
	origin int64
	moves  int
	reason streaming.Reason
}

// state is what the logs of one input partition say of a message that has a
// dead letter.
type state struct {
	latest letter // of its dead letters, selected or not
	moves  int    // the most that any copy or mark tells of
	done   bool
}

// runState is what the notes of one dead-letter partition say of a run.
type runState struct {
	begin     int64 // offset of its begin: the run is about the dead letters before it
	selection json.RawMessage
	discard   bool
	ended     bool
}

// partition is one input partition's companions, as they were read.
type partition struct {
	input  string
	dead   streaming.TopicPartition
	ledger streaming.TopicPartition
	tiers  []tier // shortest delay first

	selected []letter
	states   map[streaming.MessageID]*state
	settled  map[int64]string // the run that has redriven or discarded the dead letter at that offset
	gone     map[int64]bool   // it was discarded
	runs     map[string]*runState
	live     map[string]bool // topics in the latest checkpoint: the tiers that a worker reads

	found, todo []letter                 // see judge
	redriven    map[streaming.Reason]int // by the run
}

// read reads the dead letters, then the tiers, then the ledger. What is read
// first is settled by what is read later; and should a message move on all the
// same, the copy that is made of its dead letter has no more moves than what it
// has become, and is dropped by the lane.
func (p *partition) read(ctx context.Context, r *Redrive) error {
	p.states = make(map[streaming.MessageID]*state)
	p.settled = make(map[int64]string)
	p.gone = make(map[int64]bool)
	p.runs = make(map[string]*runState)
	p.live = make(map[string]bool)
	if err := r.scan(ctx, nil, func(rec streaming.Record) { p.deadRecord(&rec, &r.Selection) }, p.dead); err != nil {
		return err
	}
	if len(p.selected) == 0 {
		return nil
	}
	committed, err := r.Log.Committed(ctx, r.Group)
	if err != nil {
		return err
	}
	var tiers []streaming.TopicPartition
	for _, t := range p.tiers {
		tiers = append(tiers, streaming.TopicPartition{Topic: t.topic, Partition: p.dead.Partition})
	}
	if err := r.scan(ctx, committed, p.tierRecord, tiers...); err != nil {
		return err
	}
	var failed error
	err = r.scan(ctx, nil, func(rec streaming.Record) {
		if failed == nil {
			failed = p.ledgerRecord(ctx, r.Codec, &rec)
		}
	}, p.ledger)
	if failed != nil {
		return failed
	}
	return err
}

func (p *partition) deadRecord(rec *streaming.Record, s *Selection) {
	if n := schemas.ParseRedriveNote(rec); n != nil {
		p.note(n, rec.Offset)
		return
	}
	env, hop, ok := p.copyOf(rec)
	if !ok {
		return // written by somebody else: nothing says where it belongs
	}
	l := letter{id: identity(&env, &hop.Origin), offset: rec.Offset, origin: hop.Origin.Offset, moves: hop.Moves, reason: hop.Reason}
	if s.meets(rec, &env, &hop) {
		p.selected = append(p.selected, l)
	}
	st := p.states[l.id]
	if st == nil {
		st = &state{}
		p.states[l.id] = st
	}
	if l.moves >= st.latest.moves {
		st.latest = l
	}
	st.moves = max(st.moves, l.moves)
}

func (p *partition) note(n *schemas.RedriveNote, offset int64) {
	run := p.runs[n.Run]
	switch {
	case n.Step == schemas.RedriveBegin && run == nil:
		p.runs[n.Run] = &runState{begin: offset, selection: n.Selection, discard: n.Discard}
	case n.Step == schemas.RedriveSettled, n.Step == schemas.RedriveDiscarded:
		for _, o := range n.Offsets {
			if _, again := p.settled[o]; !again {
				p.settled[o] = n.Run
				p.gone[o] = n.Step == schemas.RedriveDiscarded
			}
		}
	case n.Step == schemas.RedriveEnd && run != nil:
		run.ended = true
	}
}

// copyOf reads a record of a companion topic, if it is a copy of a record of
// this input partition.
func (p *partition) copyOf(rec *streaming.Record) (env streaming.Envelope, hop streaming.Hop, ok bool) {
	original, hop, ok, err := schemas.SplitHop(rec.Headers)
	if !ok || err != nil || hop.Origin.Topic != p.input || hop.Origin.Partition != p.dead.Partition || hop.Moves < 1 {
		return env, hop, false
	}
	env, _ = schemas.DecodeEnvelope(&streaming.Record{Value: rec.Value, Headers: original}) // what breaks the contract has none
	return env, hop, true
}

// identity is the idempotency key. A record without a readable identity is
// known by its place in the input topic.
func identity(env *streaming.Envelope, o *streaming.Origin) streaming.MessageID {
	if env.Source == "" || env.ID == "" {
		return streaming.HashOrigin(o.Topic, o.Partition, o.Offset)
	}
	return streaming.HashID(env.Source, env.ID)
}

func (p *partition) tierRecord(rec streaming.Record) {
	if env, hop, ok := p.copyOf(&rec); ok {
		if st := p.states[identity(&env, &hop.Origin)]; st != nil {
			st.moves = max(st.moves, hop.Moves)
		}
	}
}

// ledgerRecord takes one record of the ledger. Marks that cannot be read are
// skipped by the worker, too.
func (p *partition) ledgerRecord(ctx context.Context, codec *schemas.Codec, rec *streaming.Record) error {
	marks, err := schemas.DecodeMarks(ctx, codec, rec.Value)
	if err != nil {
		if _, bad := schemas.ErrorReason(err); bad {
			return nil
		}
		return fmt.Errorf("read the ledger: %w", err)
	}
	for _, m := range marks {
		if m.Kind == streaming.MarkCheckpoint {
			clear(p.live)
			for topic := range m.Checkpoint.Ends {
				p.live[topic] = true
			}
		}
		if st := p.states[m.ID]; st != nil && (m.Kind == streaming.MarkDone || m.Kind == streaming.MarkDead) {
			st.moves = max(st.moves, m.Moves)
			st.done = st.done || m.Kind == streaming.MarkDone
		}
	}
	return nil
}

// tier is where the copies go: the smallest that a worker reads, as far as its
// latest checkpoint tells.
func (p *partition) tier() string {
	for _, t := range p.tiers {
		if p.live[t.topic] {
			return t.topic
		}
	}
	return p.tiers[0].topic
}

// judge says what becomes of each selected dead letter in a run.
func (p *partition) judge(run string, plan *Plan) {
	of := p.runs[run]
	p.redriven = make(map[streaming.Reason]int)
	for _, l := range p.selected {
		st := p.states[l.id]
		by, settled := p.settled[l.offset]
		switch {
		case settled && by == run:
			p.redriven[l.reason]++
			plan.Redriven[l.reason]++
		case settled && p.gone[l.offset]:
			plan.LeftOut.Discarded++
		case settled:
			plan.LeftOut.Redriven++
		case of != nil && (of.ended || l.offset > of.begin):
			plan.LeftOut.Later++
		case st.moves > l.moves:
			// Its copy is known, its redrive is not: the run was killed between.
			p.found = append(p.found, l)
			plan.Found++
		case st.done:
			plan.LeftOut.Done++
		case st.latest.offset != l.offset:
			plan.LeftOut.Superseded++
		default:
			p.todo = append(p.todo, l)
			plan.ToDo[l.reason]++
		}
	}
}
