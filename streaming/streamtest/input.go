package streamtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// sending is one record at its time.
type sending struct {
	at  time.Duration
	rec *kgo.Record
}

// load sends the input.
func (m *simulator) load(ctx context.Context) error {
	all, err := m.drawInput(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	for len(all) > 0 {
		time.Sleep(all[0].at - time.Since(begin))
		var batch []*kgo.Record
		for len(all) > 0 && all[0].at <= time.Since(begin) {
			batch = append(batch, all[0].rec)
			all = all[1:]
		}
		if err := m.client.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			return err
		}
		m.sent += len(batch)
	}
	return nil
}

// drawInput is all input in its order: messages, some of them twice, and what
// cannot be read.
func (m *simulator) drawInput(ctx context.Context) ([]sending, error) {
	var all []sending
	r := rand.New(rand.NewPCG(m.seed, 3))
	at := time.Duration(0)
	for i := range m.s.Messages {
		if r.IntN(8) == 0 {
			at += time.Duration(r.Int64N(int64(m.s.Length) * 8 / int64(m.s.Messages) * 3 / 2))
		}
		rec, err := m.input(ctx, r, i)
		if err != nil {
			return nil, err
		}
		all = append(all, sending{at, rec})
		if slices.Contains(m.s.Faults, FaultDuplicate) && rec.Key != nil && r.IntN(15) == 0 {
			copied, kind := *rec, duplicates[0]
			if m.plan.exactlyOnce && r.IntN(3) == 0 {
				copied.Key, kind = m.otherKey(rec), duplicates[1]
			}
			all = append(all, sending{at + time.Duration(r.IntN(3))*time.Duration(r.IntN(10_000))*time.Millisecond, &copied})
			m.history.hit(kind)
		}
		if slices.Contains(m.s.Faults, FaultMalformed) && r.IntN(25) == 0 {
			kind := r.IntN(len(malformations))
			all = append(all, sending{at, malformed(r, kind, rec)})
			m.history.hit(malformations[kind])
		}
	}
	slices.SortStableFunc(all, func(a, b sending) int { return int(a.at - b.at) })
	return all, nil
}

// input is the i-th input message as a record.
func (m *simulator) input(ctx context.Context, r *rand.Rand, i int) (*kgo.Record, error) {
	msg := m.s.Message(r, i)
	value, err := m.wire.codec.Encode(ctx, msg.Payload)
	if err != nil {
		return nil, err
	}
	topic := msg.Topic
	if topic == "" {
		topic = m.agents[0].cfg.Namespace.Inbox(m.agents[0].cfg.Agent)
	}
	id := fmt.Sprintf("m%04d", i)
	env := streaming.Envelope{
		ID: id, Source: "source", Type: typeOf(msg.Payload), Time: time.Now(), Kind: streaming.KindCommand,
		CorrelationID: id, Hops: streaming.DefaultHops,
	}
	if msg.Envelope != nil {
		msg.Envelope(&env)
	}
	rec := pipeline.Record(&env, &streaming.Outgoing{Topic: topic, Partition: -1, Key: msg.Key, Value: value})
	out := &kgo.Record{Topic: rec.Topic, Key: rec.Key, Value: rec.Value}
	if msg.NoKey {
		out.Key = nil
	}
	for _, h := range append(rec.Headers, msg.Headers...) {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out, nil
}

// duplicates are the kinds of repeated messages. Under another key one is known
// again where it comes to the same partition. At least once such a message may
// be sent on under either key, so that its receiver cannot know it again.
var duplicates = []string{"duplicate", "duplicate under another key"}

// otherKey is another key of the same partition.
func (m *simulator) otherKey(rec *kgo.Record) []byte {
	p := kgo.StickyKeyPartitioner(nil).ForTopic(rec.Topic)
	at := p.Partition(rec, int(m.s.Partitions))
	for i := 0; ; i++ {
		other := &kgo.Record{Topic: rec.Topic, Key: fmt.Appendf(nil, "other-%d", i)}
		if p.Partition(other, int(m.s.Partitions)) == at {
			return other.Key
		}
	}
}

// malformations are the kinds of records that cannot be handled.
var malformations = []string{
	"malformed: no envelope", "malformed: value cut off", "malformed: value is noise", "malformed: empty",
	"malformed: bad headers", "malformed: forged hop data",
}

// malformed is a record that cannot be handled, of that kind. One with forged
// hop data can be: what it brings means nothing (rule M2).
func malformed(r *rand.Rand, kind int, like *kgo.Record) *kgo.Record {
	bad := &kgo.Record{Topic: like.Topic, Key: like.Key, Value: like.Value}
	switch kind {
	case 0:
	case 1:
		bad.Value = like.Value[:r.IntN(len(like.Value))]
		bad.Headers = renamed(like, r)
	case 2:
		bad.Value = noise(r, 100)
		bad.Headers = renamed(like, r)
	case 3:
		bad.Value, bad.Key = nil, nil
	case 4:
		bad.Headers = renamed(like, r)
		at := r.IntN(len(bad.Headers))
		if bad.Headers[at].Key != "ce_id" {
			bad.Headers[at].Value = noise(r, 30)
		}
	case 5:
		bad.Headers = append(renamed(like, r),
			kgo.RecordHeader{Key: "parley-attempt", Value: fmt.Append(nil, r.IntN(5))},
			kgo.RecordHeader{Key: "parley-moves", Value: fmt.Append(nil, r.IntN(50))},
			kgo.RecordHeader{Key: "parley-origin", Value: noise(r, 20)})
	}
	return bad
}

func noise(r *rand.Rand, most int) []byte {
	b := make([]byte, r.IntN(most))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// renamed are the headers of a record with another message ID.
func renamed(like *kgo.Record, r *rand.Rand) []kgo.RecordHeader {
	headers := slices.Clone(like.Headers)
	for i := range headers {
		if headers[i].Key == "ce_id" {
			headers[i].Value = fmt.Appendf(nil, "bad-%x", r.Uint64())
		}
	}
	return headers
}
