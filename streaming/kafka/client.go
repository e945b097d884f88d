// Package kafka is the platform's way to the log, and the only production user
// of the Kafka client.
//
// A worker has two clients. The member joins the consumer group and says which
// input partitions are owned; it fetches nothing. The log client reads the
// partitions it is told to, from the offsets it is told, and writes. So a lane's
// companion partitions need no assignment of their own: who owns partition p of
// an input topic reads partition p of its companions. Any assignor works.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Config says how to reach the brokers.
type Config struct {
	Brokers  []string // host:port
	ClientID string   // default: parley
	TLS      *tls.Config
	SASL     sasl.Mechanism
	Logger   *slog.Logger // default: none
	// Dialer opens the connections to the brokers. Default: TCP, with TLS where
	// that is set. With a dialer TLS is the dialer's to do.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxRecordBytes is the largest batch written to an input topic, before it is
	// compressed, and what such topics are created for; companion topics get
	// companionExtraBytes more. A topic whose max.message.bytes is less gets no
	// more than that. Default: 1048588, Kafka's own.
	MaxRecordBytes int32
	// NoLinger sends a record at once instead of a millisecond later, with others of
	// its partition: for who waits for each.
	NoLinger bool
	// Compression of what is written. Default: snappy.
	Compression Compression
	// MaxUnpackedBytes is what a compressed batch may take in memory when it is read:
	// its bytes, and 256 for each record; beyond it is an UnpackedTooLargeError. As
	// much, about, is unpacked in advance. Default: 64 MiB.
	MaxUnpackedBytes int
}

// companionExtraBytes is what hop data may add to a record (wire contract).
const companionExtraBytes = 64 << 10

const defaultMaxRecordBytes = 1048588

// UnreachableError says that no broker answered.
type UnreachableError struct {
	Brokers []string
	Err     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no Kafka broker answers at %s: %v; check the address and that the broker runs", strings.Join(e.Brokers, ","), e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Validate reports all that is wrong with the sizes and the compression.
func (c Config) Validate() error {
	errs := []error{c.Compression.Validate()}
	if c.MaxUnpackedBytes < 0 || c.MaxUnpackedBytes > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("MaxUnpackedBytes is %d: use up to %d; 0 means its default", c.MaxUnpackedBytes, math.MaxInt32))
	}
	if c.MaxRecordBytes < 0 || c.MaxRecordBytes > 0 && c.MaxRecordBytes < minBatchBytes || c.MaxRecordBytes > maxBatchBytes-companionExtraBytes {
		errs = append(errs, fmt.Errorf("MaxRecordBytes is %d: use %d to %d; 0 means its default", c.MaxRecordBytes, minBatchBytes, maxBatchBytes-companionExtraBytes))
	}
	return errors.Join(errs...)
}

func (c Config) maxRecordBytes() int32 {
	if c.MaxRecordBytes > 0 {
		return c.MaxRecordBytes
	}
	return defaultMaxRecordBytes
}

func (c Config) options() []kgo.Opt {
	id := c.ClientID
	if id == "" {
		id = "parley"
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	switch {
	case c.Dialer != nil:
		opts = append(opts, kgo.Dialer(c.Dialer))
	case c.TLS != nil:
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(c.SASL))
	}
	if c.Logger != nil {
		opts = append(opts, kgo.WithLogger(clientLogger{c.Logger}))
	}
	return opts
}

// linger is how long a record waits for others of its partition: it makes fewer
// and larger requests, which under load saves a tenth of the CPU, the broker's
// most, and more waiting than it costs. What somebody may wait for does not, as long
// as there is little of it: see prompt.
const linger = time.Millisecond

// producing are the options of every client that writes, beside those of all.
func (c Config) producing(l *limits) []kgo.Opt {
	wait := linger
	if c.NoLinger {
		wait = 0
	}
	return []kgo.Opt{
		kgo.RecordPartitioner(newPartitioner()),
		kgo.ProducerLinger(wait),
		kgo.ProducerBatchMaxBytesFn(l.batch),
		kgo.ProducerBatchCompression(c.Compression.preference()...),
		kgo.MaxBufferedRecords(1 << 20),
	}
}

// Ping reports an UnreachableError unless a broker answers.
func Ping(ctx context.Context, c Config) error {
	cl, err := kgo.NewClient(c.options()...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil {
		return &UnreachableError{c.Brokers, err}
	}
	return nil
}

// refusal gives the errors that are a record's own fault their names.
func (l *limits) refusal(ctx context.Context, r *kgo.Record, err error) error {
	switch {
	case isTooLarge(err):
		return l.tooLarge(ctx, r)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("%w: %w", streaming.ErrUnknownTopic, err)
	}
	return err
}

func isTooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// clientLogger hands the client's warnings and errors to slog.
type clientLogger struct{ l *slog.Logger }

func (c clientLogger) Level() kgo.LogLevel {
	if c.l.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (c clientLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if msg == "flushing" {
		return // for nearly every message, see unlinger
	}
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelWarn // the client goes on trying; it is not the worker's error
	case kgo.LogLevelWarn:
		to = slog.LevelInfo
	}
	c.l.Log(context.Background(), to, "kafka client: "+msg, keyvals...)
}

func isCompanion(topic string) bool {
	return strings.Contains(topic, ".retry-") || strings.Contains(topic, ".dlq.") || strings.Contains(topic, ".ledger.") ||
		strings.Contains(topic, ".hold.") || strings.Contains(topic, ".state.")
}

// Log reads and writes partitions. It implements pipeline.Appender.
type Log struct {
	cfg    Config
	client *kgo.Client
	admin  *kadm.Client
	limits *limits
	reader reader
	loads  loads
	topics topicIDs
	prompt prompt
}

// NewLog connects lazily: Ping first for a clear error.
func NewLog(c Config) (*Log, error) {
	l := &Log{cfg: c}
	l.limits = newLimits(c, func() *kadm.Client { return l.admin })
	cl, unpacker, err := c.newReading(append(c.producing(l.limits),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(500*time.Millisecond),
		// A lane takes some thousand records before it is full; what was fetched beyond may have to be fetched again.
		kgo.FetchMaxPartitionBytes(256<<10),
		kgo.KeepRetryableFetchErrors(),
	)...)
	if err != nil {
		return nil, err
	}
	l.client, l.admin = cl, kadm.NewClient(cl)
	l.reader.client, l.reader.unpacker = cl, unpacker
	return l, nil
}

// Close flushes nothing: what is not acknowledged was never settled.
func (l *Log) Close() {
	l.limits.stop()
	l.client.Close()
}

// Fits reports a record that is over its topic's limit, as far as that is known, as a
// *streaming.RecordTooLargeError. It asks nobody.
func (l *Log) Fits(rec *streaming.Record) error { return l.limits.fits(rec) }

// Append implements pipeline.Appender.
func (l *Log) Append(rec *streaming.Record, done func(offset int64, err error)) {
	r := toClient(rec)
	l.limits.first(r.Topic, func() {
		counted := l.prompt.of(r.Topic)
		hurry := counted && l.prompt.begin()
		l.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			if counted {
				l.prompt.end()
			}
			switch {
			case err == nil:
				done(r.Offset, nil)
			case isTooLarge(err): // the broker may have to be asked, which must not hold up other acknowledgements
				go func() { done(0, l.limits.refusal(l.limits.ctx, r, err)) }()
			default:
				done(0, l.limits.refusal(l.limits.ctx, r, err))
			}
		})
		if hurry {
			unlinger(l.client)
		}
	})
}

// AppendSync appends records and waits until all are acknowledged. The offsets
// are in the order of the records.
func (l *Log) AppendSync(ctx context.Context, recs ...*streaming.Record) ([]int64, error) {
	out := make([]*kgo.Record, len(recs))
	for i, rec := range recs {
		out[i] = toClient(rec)
	}
	l.limits.await(ctx, recs)
	var errs []error
	for _, r := range l.client.ProduceSync(ctx, out...) {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("append to %s: %w", r.Record.Topic, l.limits.refusal(ctx, r.Record, r.Err)))
		}
	}
	offsets := make([]int64, len(out))
	for i, r := range out {
		offsets[i] = r.Offset
	}
	return offsets, errors.Join(errs...)
}

func toClient(rec *streaming.Record) *kgo.Record {
	r := clientRecord(rec)
	return &r
}

func clientRecord(rec *streaming.Record) kgo.Record {
	return kgo.Record{
		Topic:     rec.Topic,
		Partition: rec.Partition,
		Timestamp: rec.Timestamp,
		Key:       rec.Key,
		Value:     rec.Value,
		Headers:   headersToClient(rec.Headers),
	}
}

func fromClient(r *kgo.Record) streaming.Record {
	return streaming.Record{
		Topic:     r.Topic,
		Partition: r.Partition,
		Offset:    r.Offset,
		Timestamp: r.Timestamp,
		Key:       r.Key,
		Value:     r.Value,
		Headers:   headersFromClient(r.Headers),
	}
}
