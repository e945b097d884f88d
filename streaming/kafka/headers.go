package kafka

import (
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Headers are the same in memory on both sides of this package, so they are
// passed on instead of copied: a message has a dozen and more. Neither the
// client nor the platform changes the headers of a record once it is read, or
// once it is given to be appended.

// It does not compile where the two types differ in a field or their order.
var _ = streaming.Header(kgo.RecordHeader{})

func headersToClient(h []streaming.Header) []kgo.RecordHeader {
	return unsafe.Slice((*kgo.RecordHeader)(unsafe.Pointer(unsafe.SliceData(h))), len(h))
}

// headersFromClient returns them without room to grow: an append copies.
func headersFromClient(h []kgo.RecordHeader) []streaming.Header {
	return unsafe.Slice((*streaming.Header)(unsafe.Pointer(unsafe.SliceData(h))), len(h))
}
