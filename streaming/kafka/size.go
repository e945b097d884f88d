package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// batchOverhead is a batch without records, with the length before it: so the client
// counts, who compares a batch with its limit before it is compressed.
const batchOverhead = 65

// recordSize is what a record counts: a batch that holds it alone.
func recordSize(rec *streaming.Record) int {
	n := 1 + // attributes
		1 + 1 + // differences of time and offset, to itself
		varintLen(len(rec.Key)) + len(rec.Key) + varintLen(len(rec.Value)) + len(rec.Value) + varintLen(len(rec.Headers))
	for i := range rec.Headers {
		h := &rec.Headers[i]
		n += varintLen(len(h.Key)) + len(h.Key) + varintLen(len(h.Value)) + len(h.Value)
	}
	return batchOverhead + varintLen(n) + n
}

func varintLen(n int) int {
	var room [binary.MaxVarintLen64]byte
	return binary.PutVarint(room[:], int64(n))
}

// limits are the sizes of batches that topics take. A topic is asked before the
// first record is sent to it: a batch of more than it takes is refused as a whole,
// with records that are small enough.
type limits struct {
	cfg   Config
	admin func() *kadm.Client
	ctx   context.Context // of what is asked without a caller
	stop  context.CancelFunc

	mu     sync.Mutex
	topics map[string]int      // max.message.bytes; 0: the broker does not tell
	told   map[string]int      // what the client goes by, as it is asked once
	held   map[string][]func() // what waits until a topic has been asked
}

// askLimit bounds how long a topic's first record waits for what the broker says;
// after it the client's own limit counts alone.
const askLimit = 3 * time.Second

func newLimits(cfg Config, admin func() *kadm.Client) *limits {
	l := &limits{cfg: cfg, admin: admin, topics: make(map[string]int), told: make(map[string]int), held: make(map[string][]func())}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// of is the limit of a topic as far as it is known.
func (l *limits) of(topic string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, theirs := int(l.cfg.maxRecordBytes()), l.topics[topic]
	switch {
	case isCompanion(topic) && theirs > 0:
		return min(theirs, maxBatchBytes) // made for the copies of its input topic, whatever that takes
	case isCompanion(topic):
		return own + companionExtraBytes
	case theirs > 0:
		return min(own, theirs)
	}
	return own
}

// The client takes batches between these.
const (
	minBatchBytes = 512
	maxBatchBytes = 64 << 20
)

// batch is the client's limit of a topic's batches.
func (l *limits) batch(topic string) int32 {
	if topic == "" { // the client checks its own setting
		return l.cfg.maxRecordBytes()
	}
	limit := max(l.of(topic), minBatchBytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[topic] = limit
	return int32(limit)
}

// learn notes what the broker says of a topic.
func (l *limits) learn(topic string, maxMessageBytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[topic] = maxMessageBytes
}

// first runs send when the topic has been asked, at once where it was before. What
// is given for one topic runs in order.
func (l *limits) first(topic string, send func()) {
	l.mu.Lock()
	_, known := l.topics[topic]
	waiting, asking := l.held[topic]
	if known && !asking {
		l.mu.Unlock()
		send()
		return
	}
	l.held[topic] = append(waiting, send)
	l.mu.Unlock()
	if asking {
		return
	}
	go func() {
		l.ask(l.ctx, topic)
		for {
			l.mu.Lock()
			next := l.held[topic]
			if len(next) == 0 {
				delete(l.held, topic) // one that does not exist is asked again by the next
				l.mu.Unlock()
				return
			}
			l.held[topic] = next[:0:0]
			l.mu.Unlock()
			for _, send := range next {
				send()
			}
		}
	}()
}

// await asks about the topics that are not known.
func (l *limits) await(ctx context.Context, recs []*streaming.Record) {
	var unknown []string
	l.mu.Lock()
	for _, rec := range recs {
		if _, known := l.topics[rec.Topic]; !known && !slices.Contains(unknown, rec.Topic) {
			unknown = append(unknown, rec.Topic)
		}
	}
	l.mu.Unlock()
	if len(unknown) > 0 {
		l.ask(ctx, unknown...)
	}
}

// ask asks the broker about topics, and returns those that do not exist. They stay
// unknown.
func (l *limits) ask(ctx context.Context, topics ...string) (absent []string) {
	asking, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	all, err := l.admin().DescribeTopicConfigs(asking, topics...)
	if err != nil && ctx.Err() != nil {
		return nil // who asks does not wait any more
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		for _, topic := range topics {
			l.topics[topic] = 0
		}
		return nil
	}
	for _, rc := range all {
		if errors.Is(rc.Err, kerr.UnknownTopicOrPartition) {
			absent = append(absent, rc.Name)
			continue
		}
		l.topics[rc.Name] = 0
		for _, c := range rc.Configs {
			if n, err := strconv.Atoi(c.MaybeValue()); c.Key == "max.message.bytes" && err == nil {
				l.topics[rc.Name] = n
			}
		}
	}
	return absent
}

// fits reports a record that is over its topic's limit as far as it is known.
func (l *limits) fits(rec *streaming.Record) error {
	if size, limit := recordSize(rec), l.of(rec.Topic); size > limit {
		return &streaming.RecordTooLargeError{Topic: rec.Topic, Size: size, Limit: limit}
	}
	return nil
}

// errShrunk says that a topic takes less than it did when the client first sent to
// it, so that batches of records which are small enough were too large.
var errShrunk = errors.New("the topic's max.message.bytes has become less than the batches that this client sends; start it again")

// tooLarge names the error of a record that was refused for its size. The broker
// does not say the limit, nor which record of a batch is too large: it is asked.
func (l *limits) tooLarge(ctx context.Context, r *kgo.Record) error {
	rec := fromClient(r)
	if err := l.fits(&rec); err != nil {
		return err
	}
	l.ask(ctx, r.Topic)
	if err := l.fits(&rec); err != nil {
		return err
	}
	l.mu.Lock()
	told := l.told[r.Topic]
	l.mu.Unlock()
	if l.of(r.Topic) < told {
		return errShrunk
	}
	return &streaming.RecordTooLargeError{Topic: r.Topic, Size: recordSize(&rec), Limit: l.of(r.Topic)}
}
