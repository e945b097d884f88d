package quake

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Malformation is one way to break the contract.
type Malformation int

// The ways, each with the reason that its dead letter bears.
const (
	CutPayload    Malformation = iota // decode
	UnknownSchema                     // schema
	MissingHeader                     // contract: no ce_id, so it is nobody's duplicate
	WrongType                         // contract: ce_type is not the type that the schema names
	malformations
)

// MalformationOf is how the malformed record of that number is broken: each way
// in turn.
func MalformationOf(number int) Malformation { return Malformation(number) % malformations }

// Reason is why such a record is dead-lettered.
func (m Malformation) Reason() streaming.Reason {
	switch m {
	case CutPayload:
		return streaming.ReasonDecode
	case UnknownSchema:
		return streaming.ReasonSchema
	case MissingHeader, WrongType:
		return streaming.ReasonContract
	}
	return streaming.ReasonUnknown
}

// unknownSchemaID is one that no registry gives.
const unknownSchemaID = math.MaxInt32

// malformed is the malformed record of that number. Its ID is of seed and
// number: sent again it is a duplicate, unless it has no ID, when it is dead
// once more.
func (f *Feeder) malformed(ctx context.Context, p Plan, number int, e *Reported) (*streaming.Record, error) {
	value, err := f.Codec.Encode(ctx, e)
	if err != nil {
		return nil, err
	}
	env := streaming.Envelope{
		ID: fmt.Sprintf("malformed:%d:%d", p.Seed, number), Source: FeedAgent,
		Type: schemas.MessageType(e.Schema()), Kind: streaming.KindEvent, Time: time.Now(), Hops: streaming.DefaultHops,
	}
	how := MalformationOf(number)
	switch how {
	case CutPayload:
		// The frame is left whole: a byte at least of the payload is missing.
		const frame = 5
		value = value[:frame+p.rand(3, number).IntN(len(value)-frame)]
	case UnknownSchema:
		binary.BigEndian.PutUint32(value[1:], unknownSchemaID)
	case WrongType:
		if value, err = f.Codec.Encode(ctx, &Alert{Eventid: e.Eventid, Level: LevelNone, Text: "not an event"}); err != nil {
			return nil, err
		}
	}
	headers := schemas.AppendEnvelope(nil, &env)
	if how == MissingHeader {
		headers = slices.DeleteFunc(headers, func(h streaming.Header) bool { return h.Key == schemas.HeaderID })
	}
	ns := f.Namespace
	if ns == "" {
		ns = streaming.DefaultNamespace
	}
	return &streaming.Record{
		Topic: ns.Events(Stream), Partition: -1, Key: []byte(e.Eventid), Timestamp: env.Time, Value: value, Headers: headers,
	}, nil
}
