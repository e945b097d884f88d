package chaos

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Seen is a record as a reader saw it.
type Seen struct {
	Partition int32
	Offset    int64
	Message   MessageID
	ID        uint64 // hash of (ce_source, ce_id): what the next ledger knows it by
	Crash     bool   // a dead letter of a message in whose handler processes died
}

// Reader reads topics from their starts, read_committed, with a client that
// shares nothing with a worker, and keeps what it sees in the order in which it
// sees it.
type Reader struct {
	client *kgo.Client
	cancel context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex
	seen     map[string][]Seen
	known    map[string]map[MessageID]bool
	next     map[string]map[int32]int64 // read up to
	problems []string
}

// NewReader starts to read topics, which must exist.
func NewReader(brokers []string, topics ...string) (*Reader, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the end may be a transaction's marker
		kgo.FetchMaxWait(time.Second),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reader{
		client: cl, cancel: cancel, ended: make(chan struct{}),
		seen: make(map[string][]Seen), known: make(map[string]map[MessageID]bool), next: make(map[string]map[int32]int64),
	}
	for _, t := range topics {
		r.known[t] = make(map[MessageID]bool)
		r.next[t] = make(map[int32]int64)
	}
	go r.run(ctx)
	return r, nil
}

func (r *Reader) run(ctx context.Context) {
	defer close(r.ended)
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		for _, e := range fetches.Errors() {
			r.problems = append(r.problems, fmt.Sprintf("%s/%d: %v", e.Topic, e.Partition, e.Err))
		}
		fetches.EachRecord(r.record)
		r.mu.Unlock()
	}
}

func (r *Reader) record(rec *kgo.Record) {
	if next := r.next[rec.Topic][rec.Partition]; rec.Offset < next {
		r.problems = append(r.problems, fmt.Sprintf("%s/%d: offset %d comes after %d", rec.Topic, rec.Partition, rec.Offset, next-1))
	}
	r.next[rec.Topic][rec.Partition] = rec.Offset + 1
	if rec.Attrs.IsControl() {
		return
	}
	s, err := see(rec)
	if err != nil {
		r.problems = append(r.problems, err.Error())
		return
	}
	r.seen[rec.Topic] = append(r.seen[rec.Topic], s)
	r.known[rec.Topic][s.Message] = true
}

// see takes what is needed of a record.
func see(rec *kgo.Record) (Seen, error) {
	s := Seen{Partition: rec.Partition, Offset: rec.Offset}
	ok := len(rec.Value) >= idLength
	if ok {
		s.Message, ok = ParseID(string(rec.Value[len(rec.Value)-idLength:]))
	}
	if !ok || string(rec.Key) != KeyName(s.Message.Key) {
		return s, fmt.Errorf("%s/%d offset %d is no message of this run", rec.Topic, rec.Partition, rec.Offset)
	}
	h := fnv.New64a()
	for _, header := range rec.Headers {
		if header.Key == schemas.HeaderReason {
			s.Crash = string(header.Value) == string(streaming.ReasonCrash)
		}
		if header.Key == "ce_source" || header.Key == "ce_id" {
			_, _ = h.Write([]byte(header.Key))
			_, _ = h.Write(header.Value)
		}
	}
	s.ID = h.Sum64()
	return s, nil
}

// ReadTo waits until the reader has come to the ends that the topics have at
// the call, and no open transaction is in the way.
func (r *Reader) ReadTo(ctx context.Context) error {
	admin := kadm.NewClient(r.client)
	var topics []string
	for t := range r.next {
		topics = append(topics, t)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	for {
		behind := ""
		r.mu.Lock()
		ends.Each(func(o kadm.ListedOffset) {
			if next := r.next[o.Topic][o.Partition]; next < o.Offset {
				behind = fmt.Sprintf("%s/%d is read up to %d of %d", o.Topic, o.Partition, next, o.Offset)
			}
		})
		r.mu.Unlock()
		if behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a transaction that never ends? %s: %w", behind, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Different is how many messages have been seen in a topic, repetitions not
// counted.
func (r *Reader) Different(topic string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.known[topic])
}

// Close ends the reader and returns what it saw, by topic, and what was odd.
func (r *Reader) Close() (seen map[string][]Seen, problems []string) {
	r.cancel()
	<-r.ended
	r.client.Close()
	return r.seen, r.problems
}

// Same says where two readers of one topic have not seen the same.
func Same(topic string, a, b []Seen) []string {
	split := func(all []Seen) map[int32][]Seen {
		by := make(map[int32][]Seen)
		for _, s := range all {
			by[s.Partition] = append(by[s.Partition], s)
		}
		return by
	}
	var differences []string
	x, y := split(a), split(b)
	for p := range Partitions {
		one, other := x[int32(p)], y[int32(p)]
		for i := range max(len(one), len(other)) {
			if i >= len(one) || i >= len(other) || one[i] != other[i] {
				differences = append(differences, fmt.Sprintf(
					"%s/%d: a reader beside the run and one after it differ at their record %d (of %d and %d)", topic, p, i, len(one), len(other)))
				break
			}
		}
	}
	return differences
}
