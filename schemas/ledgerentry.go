package schemas

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// markKinds are the enum's symbols by kind.
var markKinds = [...]string{
	streaming.MarkDone:       "DONE",
	streaming.MarkDead:       "DEAD",
	streaming.MarkClaim:      "CLAIM",
	streaming.MarkCheckpoint: "CHECKPOINT",
}

// EncodeMarks returns the value of one ledger record, framed. Times are kept
// to the millisecond.
//
// Steps stand in an array of their own, not among the marks under a new kind, and
// so does what came after them: a worker of an older version cannot read a kind it
// does not know, and would lose the marks beside it.
func EncodeMarks(ctx context.Context, codec *Codec, marks []streaming.Mark) ([]byte, error) {
	entry := entries.Get().(*LedgerEntry)
	defer func() {
		clear(entry.Marks)
		*entry = LedgerEntry{Marks: entry.Marks[:0]}
		entries.Put(entry)
	}()
	for i := range marks {
		switch m := &marks[i]; m.Kind {
		case streaming.MarkStep:
			entry.Steps = append(entry.Steps, LedgerStep{
				ID: m.ID, Origin: m.Origin, Epoch: m.Epoch, Time: m.Time, Name: m.Step, Result: m.Result,
			})
			continue
		case streaming.MarkBegun:
			entry.Begun = append(entry.Begun, LedgerBegun{ID: m.ID, Moves: int32(m.Moves), Origin: m.Origin, Epoch: m.Epoch, Time: m.Time})
			continue
		case streaming.MarkAnswer:
			for _, rec := range m.Answer {
				entry.Answers = append(entry.Answers, fromAnswer(m.ID, rec))
			}
			continue
		case streaming.MarkRelease:
			entry.Released = append(entry.Released, LedgerRelease{Epoch: m.Epoch, Time: m.Time})
			continue
		}
		var mark LedgerMark
		if err := fromMark(&mark, &marks[i]); err != nil {
			return nil, fmt.Errorf("encode mark %d: %w", i, err)
		}
		entry.Marks = append(entry.Marks, mark)
	}
	return codec.Encode(ctx, entry)
}

// entries are used again: a worker that is busy writes many marks at once.
var entries = sync.Pool{New: func() any { return new(LedgerEntry) }}

// DecodeMarks returns the marks of one ledger record: steps and what was begun
// first, releases and answers last. Times are in UTC.
func DecodeMarks(ctx context.Context, codec *Codec, value []byte) ([]streaming.Mark, error) {
	var entry LedgerEntry
	if err := codec.Decode(ctx, value, &entry, ""); err != nil {
		return nil, err
	}
	marks := make([]streaming.Mark, 0, len(entry.Steps)+len(entry.Begun)+len(entry.Marks)+len(entry.Released))
	for i := range entry.Steps {
		s := &entry.Steps[i]
		marks = append(marks, streaming.Mark{
			Kind: streaming.MarkStep, ID: s.ID, Origin: s.Origin, Epoch: s.Epoch, Time: s.Time, Step: s.Name, Result: s.Result,
		})
	}
	for i := range entry.Begun {
		b := &entry.Begun[i]
		marks = append(marks, streaming.Mark{Kind: streaming.MarkBegun, ID: b.ID, Moves: int(b.Moves), Origin: b.Origin, Epoch: b.Epoch, Time: b.Time})
	}
	for i := range entry.Marks {
		marks = append(marks, streaming.Mark{})
		if err := toMark(&marks[len(marks)-1], &entry.Marks[i]); err != nil {
			return nil, &DecodeError{Schema: FullName(entry.Schema()), Problem: fmt.Sprintf("mark %d", i), Err: err}
		}
	}
	for i := range entry.Released {
		marks = append(marks, streaming.Mark{Kind: streaming.MarkRelease, Epoch: entry.Released[i].Epoch, Time: entry.Released[i].Time})
	}
	for i := range entry.Answers {
		a := &entry.Answers[i]
		if last := len(marks) - 1; i > 0 && entry.Answers[i-1].ID == a.ID {
			marks[last].Answer = append(marks[last].Answer, toAnswer(a))
			continue
		}
		marks = append(marks, streaming.Mark{Kind: streaming.MarkAnswer, ID: a.ID, Answer: []*streaming.Record{toAnswer(a)}})
	}
	return marks, nil
}

func fromAnswer(id streaming.MessageID, rec *streaming.Record) LedgerAnswer {
	a := LedgerAnswer{ID: id, Topic: rec.Topic, Partition: rec.Partition, Time: rec.Timestamp, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		a.Headers = append(a.Headers, LedgerHeader{Key: h.Key, Value: h.Value})
	}
	return a
}

func toAnswer(a *LedgerAnswer) *streaming.Record {
	rec := &streaming.Record{Topic: a.Topic, Partition: a.Partition, Timestamp: a.Time, Key: a.Key, Value: a.Value}
	for _, h := range a.Headers {
		rec.Headers = append(rec.Headers, streaming.Header{Key: h.Key, Value: h.Value})
	}
	return rec
}

func fromMark(dst *LedgerMark, m *streaming.Mark) error {
	if m.Kind == 0 || int(m.Kind) >= len(markKinds) {
		return fmt.Errorf("there is no kind %d", m.Kind)
	}
	// The schema has int where Go has 64 bits.
	if m.Moves < 0 || m.Moves > math.MaxInt32 || m.Attempts < 0 || m.Attempts > math.MaxInt32 {
		return fmt.Errorf("moves %d or attempts %d are out of range", m.Moves, m.Attempts)
	}
	*dst = LedgerMark{
		Kind: markKinds[m.Kind], ID: m.ID, Moves: int32(m.Moves), Attempts: int32(m.Attempts), Log: m.Log,
		Offset: m.Offset, Origin: m.Origin, Epoch: m.Epoch, Time: m.Time,
	}
	if c := m.Checkpoint; c != nil {
		dst.Checkpoint = &LedgerCheckpoint{Ends: c.Ends, Committed: c.Committed}
	}
	return nil
}

func toMark(dst *streaming.Mark, m *LedgerMark) error {
	if m.Moves < 0 || m.Attempts < 0 {
		return fmt.Errorf("moves %d or attempts %d are negative", m.Moves, m.Attempts)
	}
	kind := slices.Index(markKinds[1:], m.Kind) + 1
	if kind == 0 {
		return fmt.Errorf("there is no kind %q", m.Kind)
	}
	*dst = streaming.Mark{
		Kind: streaming.MarkKind(kind), ID: m.ID, Moves: int(m.Moves), Attempts: int(m.Attempts), Log: m.Log,
		Offset: m.Offset, Origin: m.Origin, Epoch: m.Epoch, Time: m.Time,
	}
	if c := m.Checkpoint; c != nil {
		dst.Checkpoint = &streaming.Checkpoint{Ends: c.Ends, Committed: c.Committed}
	}
	return nil
}
