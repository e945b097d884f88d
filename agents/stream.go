package agents

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Part is a part of an answer.
type Part[T any] struct {
	Payload  T
	Sequence int64 // from 1
	Last     bool
	// Position says where the answer goes on behind this part: Resume reads on from
	// there, in any process, as long as the topic keeps it.
	Position string
}

// Stream asks an agent and yields its answer in parts, in order and each once, until
// the last; an answer in one piece is one part, and the last. An error ends it: those
// of Request. A handler answers in parts with Answering.
func Stream[T, Req schemas.Message](ctx context.Context, r *Requester, agent string, req Req, opts ...Option) iter.Seq2[Part[T], error] {
	return func(yield func(Part[T], error) bool) {
		ctx, cancel := withDeadline(ctx)
		defer cancel()
		q, err := r.send(ctx, agent, req, opts)
		if err != nil {
			yield(Part[T]{}, err)
			return
		}
		defer r.end(q)
		s := &partReader[T]{r: r, agent: agent, q: q, at: position{partition: r.partition, request: q.id}}
		s.run(ctx, yield)
	}
}

// Resume yields what comes behind a part of an answer, whoever has read that: see
// Part.Position. agent is for errors.
func Resume[T schemas.Message](ctx context.Context, r *Requester, agent, behind string) iter.Seq2[Part[T], error] {
	return func(yield func(Part[T], error) bool) {
		ctx, cancel := withDeadline(ctx)
		defer cancel()
		at, err := parsePosition(behind)
		if err != nil {
			yield(Part[T]{}, err)
			return
		}
		q := newPendingRequest()
		stop, err := r.sender.p.readAnswers(ctx, at, q)
		if err != nil {
			yield(Part[T]{}, err)
			return
		}
		defer stop()
		s := &partReader[T]{r: r, agent: agent, q: q, at: at}
		s.run(ctx, yield)
	}
}

// readAnswers hands the answers to a request to who waits for them, from a position
// on, until it is stopped.
func (p *Platform) readAnswers(ctx context.Context, at position, q *pendingRequest) (stop func(), err error) {
	log, err := kafka.NewLog(p.kafka)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	log.Follow(map[streaming.TopicPartition]int64{at.partition: at.offset})
	go func() {
		defer close(stopped)
		err := log.Read(ctx, nil, func(_ streaming.TopicPartition, recs []streaming.Record) {
			for i := range recs {
				if env, err := schemas.DecodeEnvelope(&recs[i]); err == nil && env.CausationID == at.request && isAnswer(&env) {
					q.give(answer{env, recs[i].Clone().Value, recs[i].Offset})
				}
			}
		}, nil)
		if err == nil {
			err = errRequesterClosed
		}
		q.fail(err)
	}()
	return func() {
		cancel()
		<-stopped
		log.Close()
	}, nil
}

// partReader yields the parts of one answer.
type partReader[T schemas.Message] struct {
	r     *Requester
	agent string
	q     *pendingRequest
	at    position
}

func (s *partReader[T]) run(ctx context.Context, yield func(Part[T], error) bool) {
	for {
		got, err := s.q.next(ctx, s.agent)
		if err == nil && got.env.Kind == streaming.KindError {
			err = s.r.failed(ctx, s.agent, got)
		}
		if err == nil && got.env.Sequence > 0 && got.env.Sequence <= s.at.sequence {
			continue // sent again after a crash
		}
		if err == nil && got.env.Sequence > s.at.sequence+1 {
			err = fmt.Errorf("the answer of %s: part %d is missing before part %d", s.agent, s.at.sequence+1, got.env.Sequence)
		}
		var part Part[T]
		if err == nil {
			if err = s.r.sender.p.codec.Decode(ctx, got.value, &part.Payload, got.env.Type); err != nil {
				err = fmt.Errorf("the answer of %s: %w", s.agent, err)
			}
		}
		if err != nil {
			yield(Part[T]{}, err)
			return
		}
		s.at.offset, s.at.sequence = got.offset+1, got.env.Sequence
		part.Sequence, part.Last, part.Position = max(got.env.Sequence, 1), !isPart(&got.env), s.at.String()
		if !yield(part, nil) || part.Last {
			return
		}
	}
}

// position is a place in an answer.
type position struct {
	partition streaming.TopicPartition
	offset    int64
	sequence  int64 // of the part before it
	request   string
}

func (p position) String() string {
	return fmt.Sprintf("%s/%d/%d/%d/%s", p.partition.Topic, p.partition.Partition, p.offset, p.sequence, p.request)
}

// errPosition says that a text is no Part.Position.
var errPosition = errors.New("this is no position in an answer: Part.Position is one")

func parsePosition(text string) (p position, err error) {
	words := strings.SplitN(text, "/", 5)
	if len(words) < 5 {
		return p, errPosition
	}
	partition, err1 := strconv.ParseInt(words[1], 10, 32)
	offset, err2 := strconv.ParseInt(words[2], 10, 64)
	sequence, err3 := strconv.ParseInt(words[3], 10, 64)
	if errors.Join(err1, err2, err3) != nil {
		return p, errPosition
	}
	return position{
		partition: streaming.TopicPartition{Topic: words[0], Partition: int32(partition)}, offset: offset, sequence: sequence, request: words[4],
	}, nil
}
