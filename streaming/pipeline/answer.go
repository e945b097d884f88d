package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// batchAnswers bounds the answers in one ledger record, so that it stays well
// below what a topic allows.
const batchAnswers = 256 << 10

// MaxAnswerBytes is the largest Config.AnswerBytes.
const MaxAnswerBytes = batchAnswers

// answerOf is what a handler has replied to a request, if it is to be kept: a
// duplicate of the request gets the same again.
func (l *Lane) answerOf(a *attempt) []*streaming.Record {
	if a.m.env.Kind != streaming.KindRequest || l.cfg.AnswerBytes <= 0 {
		return nil
	}
	var answer []*streaming.Record
	size := 0
	for _, rec := range a.outputs {
		switch kind, _ := rec.Header(schemas.HeaderKind); streaming.Kind(kind) {
		case streaming.KindReply, streaming.KindError:
			answer = append(answer, rec)
			size += rec.Size()
		}
	}
	if size > l.cfg.AnswerBytes {
		l.cfg.Observer.AnswerNotKept()
		l.cfg.Logger.Info("an answer is too large to be kept: a duplicate of its request gets none", "agent", l.cfg.Agent,
			"type", a.m.env.Type, "id", a.m.env.ID, "bytes", size, "limit", l.cfg.AnswerBytes)
		return nil
	}
	return answer
}

// fitting is how many of the staged conclusions may share a ledger record.
func (l *Lane) fitting(batch []*conclusion) int {
	size := 0
	for i, c := range batch {
		if c.done == nil {
			continue
		}
		for _, rec := range c.done.answer {
			size += rec.Size()
		}
		if size > batchAnswers && i > 0 {
			return i
		}
	}
	return len(batch)
}

// again is a duplicate of an answered request whose answer is being sent again.
// Until that is acknowledged it holds its log's watermark: the answer is not lost
// with the worker.
type again struct {
	log    lane.Log
	offset int64
}

// answerAgain sends the kept answer of the request that c is a duplicate of, if
// there is one: the same records, with the same IDs.
func (l *Lane) answerAgain(c *lane.Copy) {
	at, ok := l.cfg.Facts.Answer(c.ID)
	if !ok {
		return
	}
	a := &again{c.Log, c.Offset}
	l.answering = append(l.answering, a)
	id := c.ID
	go func() {
		answer, err := l.keptAnswer(id, at)
		l.post(func() {
			switch {
			case l.closing || l.failure != nil: // whoever has the lane next answers
			case err != nil || len(answer) == 0:
				l.cfg.Logger.Warn("a duplicate of a request gets no answer: the kept one cannot be read", "topic", l.cfg.LedgerTopic,
					"partition", l.cfg.Partition, "offset", at, "error", err)
				l.answered(a)
			default:
				l.conclude(&conclusion{
					recs: answer,
					settled: func([]int64, int64) {
						for _, rec := range answer {
							l.cfg.Observer.Sent(rec.Topic, 1)
						}
						l.cfg.Observer.AnsweredAgain()
						l.answered(a)
					},
					refused: func(err error) {
						l.cfg.Logger.Warn("a kept answer cannot be sent again", "topic", answer[0].Topic, "error", err)
						l.answered(a)
					},
				})
			}
		})
	}()
}

func (l *Lane) answered(a *again) {
	l.answering = slices.DeleteFunc(l.answering, func(other *again) bool { return other == a })
}

// keptAnswer reads an answer from the ledger, as often as it takes. It may have
// been trimmed meanwhile: then there is none.
func (l *Lane) keptAnswer(id streaming.MessageID, offset int64) ([]*streaming.Record, error) {
	for {
		rec, err := l.cfg.Loader.Load(l.ctx, l.cfg.LedgerTopic, l.cfg.Partition, offset)
		if err == nil {
			return l.findAnswer(id, rec.Value)
		}
		if errors.Is(err, streaming.ErrNoRecord) {
			return nil, err
		}
		select {
		case <-l.ctx.Done():
			return nil, err
		case <-time.After(loadPause):
		}
	}
}

func (l *Lane) findAnswer(id streaming.MessageID, value []byte) ([]*streaming.Record, error) {
	marks, err := schemas.DecodeMarks(context.WithoutCancel(l.ctx), l.cfg.Codec, value)
	if err != nil {
		return nil, err
	}
	for i := range marks {
		if marks[i].Kind == streaming.MarkAnswer && marks[i].ID == id {
			return marks[i].Answer, nil
		}
	}
	return nil, streaming.ErrNoRecord
}

// watermark is how far a log may be committed.
func (l *Lane) watermark(log lane.Log) int64 {
	at := l.machine.Watermark(log)
	for _, a := range l.answering {
		if a.log == log {
			at = min(at, a.offset)
		}
	}
	return at
}
