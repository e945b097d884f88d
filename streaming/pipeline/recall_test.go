package pipeline

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// An owner that died between a dead letter and its mark leaves the letter as the
// only fact. The next owner's checkpoint ends behind the letter: if a third one
// takes over before the input record is committed, it reads neither.
func TestADeadLetterWithoutAMarkIsMarkedByTheNextOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1000, func(context.Context, *streaming.Delivery) error { return nil })
		letter := func(id string, offset int64) (streaming.MessageID, streaming.Record) {
			env := streaming.Envelope{ID: id, Source: "giver", Type: "agent.error", Hops: 3}
			hop := streaming.Hop{Attempt: 2, Moves: 3, Origin: streaming.Origin{Topic: "in", Offset: offset}, Reason: streaming.ReasonHandler}
			return streaming.HashID("giver", id), streaming.Record{
				Topic: "dlq", Offset: offset, Key: []byte("k"), Value: []byte{0},
				Headers: schemas.AppendHop(schemas.AppendEnvelope(nil, &env), &hop),
			}
		}
		known, rec := letter("marked", 0)
		b.lane.RecallMark(&streaming.Mark{Kind: streaming.MarkDead, ID: known, Moves: 3}, 1)
		b.lane.RecallDead(rec)
		lost, rec := letter("unmarked", 1)
		b.lane.RecallDead(rec)
		b.lane.Open(0, 0, []int64{0})
		b.lane.Checkpoint(nil, func(int64, map[string]int64) {})
		synctest.Wait()
		b.lane.Abort()

		var dead []streaming.MessageID
		for _, rec := range b.log.recs {
			marks, err := schemas.DecodeMarks(t.Context(), b.codec, rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range marks {
				switch m.Kind {
				case streaming.MarkDead:
					dead = append(dead, m.ID)
				case streaming.MarkCheckpoint:
					if len(dead) == 0 {
						t.Error("the checkpoint stands before the mark")
					}
				}
			}
		}
		if len(dead) != 1 || dead[0] != lost {
			t.Errorf("marked %x, want %x", dead, lost)
		}
	})
}
