package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

const defaultMaxUnpackedBytes = 64 << 20

// recordBytes is what the client needs for each record, beside its bytes.
const recordBytes = 256

func (c Config) maxUnpackedBytes() int {
	if c.MaxUnpackedBytes > 0 {
		return c.MaxUnpackedBytes
	}
	return defaultMaxUnpackedBytes
}

// UnpackedTooLargeError says that a compressed batch unpacks to more than
// Config.MaxUnpackedBytes. Its partition stands there: nothing of the batch has been
// read, and nothing behind it is.
type UnpackedTooLargeError struct {
	TopicPartition streaming.TopicPartition
	Offset, Next   int64 // of the batch's first record, and behind its last one
	Limit          int   // bytes
}

func (e *UnpackedTooLargeError) Error() string {
	return fmt.Sprintf("%s/%d stands still: its batch of offsets %d to %d unpacks to more than %d bytes; find out who sends it, then raise MaxUnpackedBytes, or stop the group and set its offset there to %d, which skips these records",
		e.TopicPartition.Topic, e.TopicPartition.Partition, e.Offset, e.Next-1, e.Limit, e.Next)
}

// unpackedTooLarge is the error of a partition in our words, if it is that.
func (c Config) unpackedTooLarge(err error) (*UnpackedTooLargeError, bool) {
	e, ok := errors.AsType[*kgo.ErrDecompressTooLarge](err)
	if !ok {
		return nil, false
	}
	return &UnpackedTooLargeError{
		TopicPartition: streaming.TopicPartition{Topic: e.Topic, Partition: e.Partition},
		Offset:         e.Offset, Next: e.NextOffset, Limit: c.maxUnpackedBytes(),
	}, true
}

// errNotYet says that as much has been unpacked as may be until it is polled. The
// client fetches the batch again.
var errNotYet = errors.New("enough has been unpacked for now")

// unpacker bounds what the batches that are read take in memory: each of them, and
// those together that have been fetched and not yet been polled. The second counts
// as much as the first: one fetch holds many small batches.
type unpacker struct {
	inner kgo.Decompressor // bounds a batch's bytes
	limit int
	spent atomic.Int64 // since all that was unpacked had been polled
}

// newReading returns a client that reads, with options beside those of all clients.
func (c Config) newReading(opts ...kgo.Opt) (*kgo.Client, *unpacker, error) {
	// The client makes its own decompressor, which has the bound; it can be had from
	// one that connects to nothing.
	plain, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.MaxDecompressBatchBytes(c.maxUnpackedBytes()))
	if err != nil {
		return nil, nil, err
	}
	defer plain.Close()
	inner, ok := plain.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	if !ok {
		return nil, nil, errors.New("the Kafka client has no decompressor")
	}
	u := &unpacker{inner: inner, limit: c.maxUnpackedBytes()}
	cl, err := kgo.NewClient(append(append(c.options(), opts...), kgo.WithDecompressor(u))...)
	return cl, u, err
}

// Decompress implements kgo.Decompressor.
func (u *unpacker) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecNone {
		return src, nil
	}
	if u.spent.Load() >= int64(u.limit) {
		return nil, errNotYet
	}
	out, err := u.inner.Decompress(src, codec)
	if err != nil {
		return nil, err
	}
	cost := len(out) + recordBytes*countRecords(out)
	if cost > u.limit {
		return nil, kgo.ErrMaxDecompress
	}
	u.spent.Add(int64(cost))
	return out, nil
}

// polled is told after each poll.
func (u *unpacker) polled(cl *kgo.Client) {
	if cl.BufferedFetchRecords() == 0 {
		u.spent.Store(0)
	}
}

// countRecords counts the records of a batch. What is broken the client finds.
func countRecords(records []byte) int {
	n := 0
	for len(records) > 0 {
		size, width := binary.Varint(records)
		if width <= 0 || size < 0 || size > int64(len(records)-width) {
			break
		}
		records = records[width+int(size):]
		n++
	}
	return n
}
