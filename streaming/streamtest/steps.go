package streamtest

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Step is one durable step of a worker, before and after which it may crash.
type Step string

// The steps. All but the effect are requests to the broker: before is when it
// has not applied the request, after is when it has and the worker does not
// know.
const (
	StepEffect     Step = "effect"     // what the handler does, before it returns
	StepOutput     Step = "output"     // a message that a handler has sent
	StepMark       Step = "mark"       // done or dead, in the ledger
	StepRetry      Step = "retry"      // the next copy, in a retry or hold topic
	StepDead       Step = "dead"       // the dead letter
	StepCommit     Step = "commit"     // offsets, in a transaction under exactly once
	StepEnd        Step = "end"        // of a transaction
	StepClaim      Step = "claim"      // a new owner's, in the ledger
	StepRebuild    Step = "rebuild"    // a new owner asks where the logs stand
	StepCheckpoint Step = "checkpoint" // a copy of the offsets, in the ledger
	StepTrim       Step = "trim"       // of what is settled
	StepResult     Step = "result"     // of a handler's durable step, in the ledger
	StepBegun      Step = "begun mark" // before a handler that may have killed the process before
	StepRelease    Step = "release"    // the last mark of an owner that stops
)

// steps lists all, in the order in which they are reported.
var steps = []Step{
	StepEffect, StepOutput, StepMark, StepRetry, StepDead, StepCommit, StepEnd,
	StepClaim, StepRebuild, StepCheckpoint, StepTrim, StepResult, StepBegun, StepRelease,
}

// wire reads the steps out of requests.
type wire struct {
	codec  *schemas.Codec
	topics map[[16]byte]string
	unzip  kgo.Decompressor
}

// written is what a produce request has for one partition.
type written struct {
	topic     string
	partition int32
	records   int
	marks     []markAt // of a ledger
	there     bool     // the broker has answered that it stands there
	base      int64    // then: where
}

// markAt is a mark in a record of a batch.
type markAt struct {
	streaming.Mark
	record int
}

func (w written) claims() bool {
	return slices.ContainsFunc(w.marks, func(m markAt) bool { return m.Kind == streaming.MarkClaim })
}

// read returns the key of a request, the steps that it takes and, of a produce
// request, what it writes.
func (w *wire) read(frame []byte) (key int16, taken []Step, writes []written) {
	key = int16(binary.BigEndian.Uint16(frame[4:]))
	switch kmsg.Key(key) {
	case kmsg.OffsetCommit, kmsg.TxnOffsetCommit:
		return key, []Step{StepCommit}, nil
	case kmsg.EndTxn:
		return key, []Step{StepEnd}, nil
	case kmsg.OffsetFetch, kmsg.ListOffsets:
		return key, []Step{StepRebuild}, nil
	case kmsg.DeleteRecords:
		return key, []Step{StepTrim}, nil
	case kmsg.Produce:
		taken, writes = w.produced(frame)
	}
	return key, taken, writes
}

func (w *wire) produced(frame []byte) (taken []Step, writes []written) {
	var req kmsg.ProduceRequest
	req.SetVersion(int16(binary.BigEndian.Uint16(frame[6:])))
	at := 14
	if n := int16(binary.BigEndian.Uint16(frame[12:])); n > 0 {
		at += int(n)
	}
	if req.IsFlexible() {
		at++ // no tags
	}
	if err := req.ReadFrom(frame[at:]); err != nil {
		return nil, nil
	}
	seen := make(map[Step]bool)
	for _, t := range req.Topics {
		topic := t.Topic
		if topic == "" {
			topic = w.topics[t.TopicID]
		}
		for _, p := range t.Partitions {
			in := written{topic: topic, partition: p.Partition}
			switch {
			case strings.Contains(topic, ".retry-"), strings.Contains(topic, ".hold."):
				seen[StepRetry] = true
			case strings.Contains(topic, ".dlq."):
				seen[StepDead] = true
			case !strings.Contains(topic, ".ledger."):
				seen[StepOutput] = true
			default:
				in.marks = w.marks(p.Records)
				for _, m := range in.marks {
					switch m.Kind {
					case streaming.MarkClaim:
						seen[StepClaim] = true
					case streaming.MarkCheckpoint:
						seen[StepCheckpoint] = true
					case streaming.MarkStep:
						seen[StepResult] = true
					case streaming.MarkBegun:
						seen[StepBegun] = true
					case streaming.MarkRelease:
						seen[StepRelease] = true
					default:
						seen[StepMark] = true
					}
				}
			}
			var batch kmsg.RecordBatch
			if batch.ReadFrom(p.Records) == nil {
				in.records = int(batch.NumRecords)
				writes = append(writes, in)
			}
		}
	}
	for _, s := range steps {
		if seen[s] {
			taken = append(taken, s)
		}
	}
	return taken, writes
}

// marks are those in a record batch of a ledger.
func (w *wire) marks(batch []byte) (all []markAt) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(batch); err != nil {
		return nil
	}
	raw, err := w.unzip.Decompress(b.Records, kgo.CompressionCodecType(b.Attributes&7))
	if err != nil {
		return nil
	}
	for i := range int(b.NumRecords) {
		length, n := binary.Varint(raw)
		if n <= 0 || int(length)+n > len(raw) {
			break
		}
		var r kmsg.Record
		if err := r.ReadFrom(raw[:int(length)+n]); err != nil {
			break
		}
		raw = raw[int(length)+n:]
		if marks, err := schemas.DecodeMarks(context.Background(), w.codec, r.Value); err == nil {
			for _, m := range marks {
				all = append(all, markAt{m, i})
			}
		}
	}
	return all
}
