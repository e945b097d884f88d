package pipeline

import (
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// message is what a lane keeps of a record while it is in memory. Its record
// has the original headers only: hop data is taken off on the way in and put
// on again on the way out.
type message struct {
	rec  *streaming.Record // of the batch that was read, or its own
	key  string            // of the record
	env  streaming.Envelope
	hop  *streaming.Hop // nil on the input log
	bad  error          // the envelope breaks the contract: what is wrong with it
	copy lane.Copy      // of an input record. In a tier it stands alone, as it outlives its value in memory

	judged bool // a filter has said that it is for the group
	acked  bool // its sender knows that it has arrived
}

// decodeInput reads a record of the input topic. What parley- hop headers it
// arrives with are its sender's: they are kept and mean nothing (rule M2).
func (l *Lane) decodeInput(rec *streaming.Record) (*message, *lane.Copy) {
	m := l.messages.next()
	m.rec = rec
	m.bad = schemas.ReadEnvelope(&m.env, m.rec)
	return m, m.asCopy(&m.copy, lane.Input, rec.Offset)
}

// decodeHop reads a record of a retry topic. Without valid hop data nothing is
// known of where it belongs: its own place stands for its origin, and it is
// dead-lettered as contract.
func decodeHop(rec streaming.Record, tier lane.Log) (*message, *lane.Copy) {
	original, hop, ok, err := schemas.SplitHop(rec.Headers)
	m := &message{rec: &rec, hop: &hop}
	if !ok || err != nil {
		hop.Origin = place(&rec)
		m.bad = &schemas.ContractError{Header: "parley-attempt", Problem: "a record in a retry topic without valid hop data"}
		c := m.asCopy(new(lane.Copy), tier, rec.Offset)
		c.Origin = -1 // before all of its key; the input log is always past it
		return m, c
	}
	m.rec.Headers = original
	m.bad = schemas.ReadEnvelope(&m.env, m.rec)
	return m, m.asCopy(new(lane.Copy), tier, rec.Offset)
}

// asCopy fills c with what the state machine has to know of the message.
func (m *message) asCopy(c *lane.Copy, log lane.Log, offset int64) *lane.Copy {
	c.Log, c.Offset, c.ID, c.Payload, c.Size = log, offset, m.id(), m, m.rec.Size()
	if m.rec.Key != nil {
		c.Key = "k" + string(m.rec.Key)
		m.key = c.Key[1:]
	} else {
		c.Key = "i" + string(c.ID[:]) // no key, no order: only copies of one message are kept apart
	}
	if m.hop == nil {
		c.Origin = m.rec.Offset
		return c
	}
	c.Origin, c.Moves, c.Attempts = m.hop.Origin.Offset, m.hop.Moves, m.hop.Attempt
	if m.hop.Due > 0 {
		c.Due = unixMilli(m.hop.Due)
		c.Scheduled = m.hop.Attempt == 0 // a failure has an attempt, and what follows it or is redriven no due time
	}
	return c
}

// origin is the place of the message's record in its input topic.
func (m *message) origin() streaming.Origin {
	if m.hop == nil {
		return place(m.rec)
	}
	return m.hop.Origin
}

func place(rec *streaming.Record) streaming.Origin {
	return streaming.Origin{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp}
}

// id is the idempotency key. A record without a readable identity is known by
// its place in the input topic.
func (m *message) id() streaming.MessageID {
	if m.env.Source != "" && m.env.ID != "" {
		return streaming.HashID(m.env.Source, m.env.ID)
	}
	o := m.origin()
	return streaming.HashOrigin(o.Topic, o.Partition, o.Offset)
}

// copyRecord is the message as a record of a retry or dead-letter topic: the
// original key, value and headers byte for byte, with hop data beside them.
func (m *message) copyRecord(topic string, hop *streaming.Hop) *streaming.Record {
	headers := make([]streaming.Header, len(m.rec.Headers), len(m.rec.Headers)+6)
	copy(headers, m.rec.Headers)
	return &streaming.Record{
		Topic:     topic,
		Partition: m.origin().Partition,
		Key:       m.rec.Key,
		Value:     m.rec.Value,
		Headers:   schemas.AppendHop(headers, hop),
	}
}
