package streaming

import "errors"

// ErrNoRecord says that there is no record at an offset: it was trimmed, or the
// offset is that of a transaction's marker.
var ErrNoRecord = errors.New("there is no record at this offset")

// What an appended record can be refused for, as the log's implementation
// reports it. Any other error of an append is not the record's fault.
var (
	ErrRecordTooLarge = errors.New("the record is larger than its topic allows")
	ErrUnknownTopic   = errors.New("the topic does not exist")
)
