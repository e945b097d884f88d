package kafka_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// noise is what no codec makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

const smallTopic = 50_000 // its max.message.bytes

func sizes(t *testing.T) (*streamtest.Cluster, *kafka.Log) {
	t.Helper()
	c := streamtest.NewCluster(t)
	log, err := kafka.NewLog(kafka.Config{Brokers: c.Brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	if err := log.ApplyTopics(t.Context(), &kafka.TopicPlan{Create: []kafka.NewTopic{
		{Name: "usual", Partitions: 1},
		{Name: "small", Partitions: 1, Config: map[string]string{"max.message.bytes": fmt.Sprint(smallTopic)}},
		{Name: "other", Partitions: 1, Config: map[string]string{"max.message.bytes": fmt.Sprint(smallTopic)}},
	}}, -1); err != nil {
		t.Fatal(err)
	}
	return c, log
}

func wantTooLarge(t *testing.T, err error, topic string, limit int) *streaming.RecordTooLargeError {
	t.Helper()
	var large *streaming.RecordTooLargeError
	if !errors.As(err, &large) || !errors.Is(err, streaming.ErrRecordTooLarge) || large.Topic != topic || large.Limit != limit {
		t.Fatalf("%v (%+v), want a record too large for the %d bytes of %s", err, large, limit, topic)
	}
	return large
}

// The size that the error names is what is compared with the limit: a record of
// just the limit is written.
func TestARecordTooLargeNamesSizeAndLimit(t *testing.T) {
	t.Parallel()
	_, log := sizes(t)
	for _, c := range []struct {
		topic string
		limit int
	}{{"usual", 1048588}, {"small", smallTopic}} {
		for _, shape := range []streaming.Record{
			{},
			{Key: []byte("k"), Headers: []streaming.Header{{Key: "h", Value: []byte("v")}}},
			{Key: noise(300), Headers: make([]streaming.Header, 200)},
		} {
			rec := shape
			rec.Topic, rec.Value = c.topic, noise(2<<20)
			_, err := log.AppendSync(t.Context(), &rec)
			large := wantTooLarge(t, err, c.topic, c.limit)
			rec.Value = rec.Value[:len(rec.Value)-(large.Size-large.Limit)]
			if err := log.Fits(&rec); err != nil {
				// The length of the value takes a byte less, too.
				t.Errorf("a record of just the limit: %v", err)
			}
			if _, err := log.AppendSync(t.Context(), &rec); err != nil {
				t.Errorf("a record of just the limit: %v", err)
			}
			rec.Value = noise(len(rec.Value) + 10)
			_, _, err = log.AppendOne(t.Context(), &rec)
			if now := wantTooLarge(t, err, c.topic, c.limit); now.Size > c.limit+10 {
				t.Errorf("10 bytes more than the limit of %d are %d", c.limit, now.Size)
			}
			_ = wantTooLarge(t, log.AppendEach(t.Context(), &rec)[0], c.topic, c.limit)
			_ = wantTooLarge(t, log.Fits(&rec), c.topic, c.limit)
		}
	}
}

// Records that a topic takes are written, however many come at once: the client
// knows what it takes before it makes batches for it. In their order.
func TestBatchesAreNoLargerThanTheirTopicTakes(t *testing.T) {
	t.Parallel()
	c, log := sizes(t)
	const n = 60
	var all sync.WaitGroup
	for i := range n {
		rec := &streaming.Record{Topic: "small", Key: fmt.Append(nil, i), Value: noise(smallTopic / 3)}
		all.Add(1)
		log.Append(rec, func(_ int64, err error) {
			defer all.Done()
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	all.Wait()
	for i, r := range c.ReadAll(t, "small") {
		if string(r.Key) != fmt.Sprint(i) {
			t.Fatalf("record %s is at place %d", r.Key, i)
		}
	}
}

// Of a transaction the record is refused that is too large, and no other.
func TestATransactionRefusesWhatIsTooLarge(t *testing.T) {
	c := fake(t)
	m, told := join(t, c, kafka.ProtocolClassic)
	told.next(t, "assigned [0 1]")
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	lower(t, kadm.NewClient(cl), "t", smallTopic)
	tr, err := kafka.NewTransactor(kafka.Config{Brokers: c.ListenAddrs()}, "tx")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { tr.Close() }()
	var recs []*streaming.Record
	for range 60 {
		recs = append(recs, &streaming.Record{Topic: "t", Value: noise(smallTopic / 3)})
	}
	recs[7].Value = noise(smallTopic + 1)
	always := func() bool { return true }
	_, err = tr.Do(t.Context(), m.Membership(), zero(1), recs, always)
	var aborted *kafka.AbortedError
	if !errors.As(err, &aborted) || len(aborted.Refused) != 1 {
		t.Fatalf("%v, want one record refused", err)
	}
	_ = wantTooLarge(t, aborted.Refused[7], "t", smallTopic)
	recs[7].Value = nil
	if _, err := tr.Do(t.Context(), m.Membership(), zero(1), recs, always); err != nil {
		t.Fatal(err)
	}

	// Batches of what was allowed before are refused without a fault of a record's,
	// and smaller ones made.
	lower(t, kadm.NewClient(cl), "t", smallTopic/2)
	if _, err = tr.Do(t.Context(), m.Membership(), zero(1), recs, always); !errors.As(err, &aborted) || aborted.Refused != nil {
		t.Fatalf("%v, want no record refused", err)
	}
	if _, err := tr.Do(t.Context(), m.Membership(), zero(1), recs, always); err != nil {
		t.Fatal(err)
	}
}

func lower(t *testing.T, adm *kadm.Client, topic string, limit int) {
	t.Helper()
	text := fmt.Sprint(limit)
	resp, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &text}}, topic)
	if err != nil || resp[0].Err != nil {
		t.Fatal(err, resp)
	}
}

// A limit that is lowered meanwhile is asked for when the broker refuses.
func TestALimitThatHasBecomeLess(t *testing.T) {
	t.Parallel()
	c, log := sizes(t)
	rec := &streaming.Record{Topic: "small", Value: noise(smallTopic / 2)}
	if _, err := log.AppendSync(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	lower(t, kadm.NewClient(c.Client(t)), "small", 9000)
	_, err := log.AppendSync(t.Context(), rec)
	_ = wantTooLarge(t, err, "small", 9000)

	// Small records in a batch that is too large now are not at fault.
	errs := log.AppendEach(t.Context(), &streaming.Record{Topic: "small", Value: noise(6000)}, &streaming.Record{Topic: "small", Value: noise(6000)})
	for _, err := range errs {
		if err == nil || errors.Is(err, streaming.ErrRecordTooLarge) {
			t.Errorf("a small record beside another: %v", err)
		}
	}
}
