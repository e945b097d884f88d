package streaming

import (
	"errors"
	"fmt"
)

// ErrNoRecord says that there is no record at an offset: it was trimmed, or the
// offset is that of a transaction's marker.
var ErrNoRecord = errors.New("there is no record at this offset")

// What an appended record can be refused for, as the log's implementation
// reports it. Any other error of an append is not the record's fault.
var (
	ErrRecordTooLarge = errors.New("the record is larger than its topic allows")
	ErrUnknownTopic   = errors.New("the topic does not exist")
)

// RecordTooLargeError says that a record was not written for its size. It is an
// ErrRecordTooLarge.
type RecordTooLargeError struct {
	Topic string
	Size  int // bytes of a batch of this record alone, before compression
	Limit int // bytes that are allowed: the less of the client's and the topic's, as far as they are known
}

func (e *RecordTooLargeError) Error() string {
	if e.Size <= e.Limit {
		return fmt.Sprintf("the broker refused a record of %d bytes for %s, which is less than the %d that this client knows to be allowed: look at the topic's max.message.bytes",
			e.Size, e.Topic, e.Limit)
	}
	return fmt.Sprintf("the record has %d bytes, %s takes up to %d: send a reference instead, or raise max.message.bytes of the topic and what the client sends",
		e.Size, e.Topic, e.Limit)
}

// Unwrap returns ErrRecordTooLarge.
func (e *RecordTooLargeError) Unwrap() error { return ErrRecordTooLarge }
