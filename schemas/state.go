package schemas

import (
	"encoding/hex"
	"strconv"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// The headers of a record in a state topic.
const (
	HeaderWriter       = "parley-writer"
	HeaderStateVersion = "parley-stateversion"
	HeaderPrevious     = "parley-previous"
)

// StateEntry is an entry of an agent's state as a record of a state topic: the
// key is the entry's name and the value what the agent keeps, framed, or none.
type StateEntry struct {
	Name     string
	Value    []byte              // nil: removed
	Previous []byte              // what stood there before; nil: nothing
	Writer   streaming.MessageID // the message that was handled
	Version  int64               // one more than what stood there had; 1 for the first
}

// StateRecord is an entry as a record.
func StateRecord(topic string, partition int32, e *StateEntry) *streaming.Record {
	rec := &streaming.Record{
		Topic: topic, Partition: partition, Key: []byte(e.Name), Value: e.Value,
		Headers: []streaming.Header{
			{Key: HeaderWriter, Value: hex.AppendEncode(nil, e.Writer[:])},
			{Key: HeaderStateVersion, Value: strconv.AppendInt(nil, e.Version, 10)},
		},
	}
	if e.Previous != nil {
		rec.Headers = append(rec.Headers, streaming.Header{Key: HeaderPrevious, Value: e.Previous})
	}
	return rec
}

// ParseState reads a record of a state topic. What somebody else has written
// there has no writer and no version.
func ParseState(rec *streaming.Record) StateEntry {
	e := StateEntry{Name: string(rec.Key), Value: rec.Value}
	if v, ok := rec.Header(HeaderWriter); ok && len(v) == hex.EncodedLen(len(e.Writer)) {
		if _, err := hex.Decode(e.Writer[:], v); err != nil {
			e.Writer = streaming.MessageID{}
		}
	}
	if v, ok := rec.Header(HeaderStateVersion); ok {
		e.Version, _ = strconv.ParseInt(string(v), 10, 64)
	}
	if v, ok := rec.Header(HeaderPrevious); ok && v != nil {
		e.Previous = v
	}
	return e
}
