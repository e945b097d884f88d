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
	// MaxRecordBytes is the largest batch written to an input topic; companion
	// topics get companionExtraBytes more. Default: 1048588, Kafka's own.
	MaxRecordBytes int32
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
// most, and more waiting than it costs.
const linger = time.Millisecond

// producing are the options of every client that writes.
func (c Config) producing() []kgo.Opt {
	limit := c.maxRecordBytes()
	return append(c.options(),
		kgo.RecordPartitioner(newPartitioner()),
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			if isCompanion(topic) {
				return limit + companionExtraBytes
			}
			return limit
		}),
		kgo.MaxBufferedRecords(1<<20),
	)
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
func refusal(err error) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fmt.Errorf("%w: %w", streaming.ErrRecordTooLarge, err)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("%w: %w", streaming.ErrUnknownTopic, err)
	}
	return err
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
	reader reader
	loads  loads
	topics topicIDs
}

// NewLog connects lazily: Ping first for a clear error.
func NewLog(c Config) (*Log, error) {
	cl, err := kgo.NewClient(append(c.producing(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(500*time.Millisecond),
		// A lane takes some thousand records before it is full; what was fetched beyond may have to be fetched again.
		kgo.FetchMaxPartitionBytes(256<<10),
		kgo.KeepRetryableFetchErrors(),
		// While one request is under way the next collects, as marks do: load makes large requests, idleness makes
		// none wait. With the client's default of several the broker gets them nearly one record each.
		kgo.MaxProduceRequestsInflightPerBroker(1),
	)...)
	if err != nil {
		return nil, err
	}
	return &Log{cfg: c, client: cl, admin: kadm.NewClient(cl), reader: reader{client: cl}}, nil
}

// Close flushes nothing: what is not acknowledged was never settled.
func (l *Log) Close() { l.client.Close() }

// Append implements pipeline.Appender.
func (l *Log) Append(rec *streaming.Record, done func(offset int64, err error)) {
	r := toClient(rec)
	l.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		if err != nil {
			done(0, refusal(err))
			return
		}
		done(r.Offset, nil)
	})
}

// AppendSync appends records and waits until all are acknowledged. The offsets
// are in the order of the records.
func (l *Log) AppendSync(ctx context.Context, recs ...*streaming.Record) ([]int64, error) {
	out := make([]*kgo.Record, len(recs))
	for i, rec := range recs {
		out[i] = toClient(rec)
	}
	var errs []error
	for _, r := range l.client.ProduceSync(ctx, out...) {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("append to %s: %w", r.Record.Topic, refusal(r.Err)))
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
