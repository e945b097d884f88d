package streaming

import (
	"bytes"
	"strings"
	"time"
)

// Header is one Kafka record header. A record may carry a key twice; readers
// take the first.
type Header struct {
	Key   string
	Value []byte
}

// Record is a Kafka record as bytes, with its place in the log. A nil Key is
// no key; an empty one is a key.
type Record struct {
	Topic     string
	Partition int32 // -1 on a record to be appended: chosen by the key
	Offset    int64
	Timestamp time.Time
	Key       []byte
	Value     []byte
	Headers   []Header

	// Optional, of a record to be appended: where the log can never take it, for its
	// size or as its topic does not exist, what belongs together goes on without it.
	Optional bool
	// IfTopicExists, of a record to be appended: see Outgoing.IfTopicExists.
	IfTopicExists bool
	// Caused, of a record to be appended, is when the message was sent that has caused
	// it. If that was long enough ago, a topic that does not exist did not then either.
	Caused time.Time
	// Routed, of a record to be appended: see Outgoing.Routed.
	Routed bool
}

// Header returns the value of the first header with that key.
func (r *Record) Header(key string) ([]byte, bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// Clone returns a copy that shares no memory with the record.
func (r *Record) Clone() Record {
	c := *r
	c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), make([]Header, len(r.Headers))
	for i, h := range r.Headers {
		c.Headers[i] = Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	return c
}

// Size returns the bytes of key, value and headers.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Range is a part of a partition: offsets from From up to, not including, To.
type Range struct {
	TopicPartition TopicPartition
	From, To       int64
}
