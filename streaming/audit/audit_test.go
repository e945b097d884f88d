package audit

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

const (
	stream = "parley.events.quakes"
	inbox  = "parley.inbox.agent"
	tier1  = stream + ".retry-1s.agent"
	tier2  = stream + ".retry-10s.agent"
	dead   = stream + ".dlq.agent"
	ledger = stream + ".ledger.agent"
)

var (
	codec = schemas.NewCodec(schemas.NewMemoryRegistry())
	noon  = time.Date(2018, 2, 6, 12, 0, 0, 0, time.UTC)
)

// memLog is a log in memory with one partition for each topic.
type memLog struct {
	t         *testing.T
	topics    map[string][]streaming.Record
	starts    map[string]int64
	committed map[string]int64
	scanned   func() // called before each scan
}

func newLog(t *testing.T) *memLog {
	l := &memLog{t: t, topics: map[string][]streaming.Record{}, starts: map[string]int64{}, committed: map[string]int64{}}
	for _, topic := range []string{stream, tier1, tier2, dead, ledger, inbox, inbox + ".dlq.agent", inbox + ".ledger.agent"} {
		l.topics[topic] = nil
	}
	return l
}

func (l *memLog) Topics(context.Context, string) (map[string]int32, error) {
	n := map[string]int32{}
	for topic := range l.topics {
		n[topic] = 1
	}
	return n, nil
}

func at(topic string) streaming.TopicPartition { return streaming.TopicPartition{Topic: topic} }

func (l *memLog) Committed(context.Context, string) (map[streaming.TopicPartition]int64, error) {
	m := map[streaming.TopicPartition]int64{}
	for topic, offset := range l.committed {
		m[at(topic)] = offset
	}
	return m, nil
}

func (l *memLog) StartOffsets(_ context.Context, topics ...string) (map[streaming.TopicPartition]int64, error) {
	m := map[streaming.TopicPartition]int64{}
	for _, topic := range topics {
		m[at(topic)] = l.starts[topic]
	}
	return m, nil
}

func (l *memLog) EndOffsets(_ context.Context, topics ...string) (map[streaming.TopicPartition]int64, error) {
	m := map[streaming.TopicPartition]int64{}
	for _, topic := range topics {
		m[at(topic)] = int64(len(l.topics[topic]))
	}
	return m, nil
}

func (l *memLog) Scan(_ context.Context, ranges []kafka.Range, each func(streaming.Record)) error {
	if l.scanned != nil {
		l.scanned()
	}
	for _, r := range ranges {
		for i := r.From; i < r.To; i++ {
			if i >= l.starts[r.TopicPartition.Topic] {
				each(l.topics[r.TopicPartition.Topic][i])
			}
		}
	}
	return nil
}

func (l *memLog) append(topic string, rec streaming.Record) int64 {
	rec.Topic, rec.Offset = topic, int64(len(l.topics[topic]))
	l.topics[topic] = append(l.topics[topic], rec)
	return rec.Offset
}

// event is a message from feed with that ID; its type and recipient may be
// changed.
func event(id string, change ...func(*streaming.Envelope)) streaming.Record {
	env := streaming.Envelope{ID: id, Source: "feed", Type: "quake.reported", Time: noon, Hops: 32}
	for _, c := range change {
		c(&env)
	}
	return streaming.Record{Timestamp: noon, Key: []byte("k"), Value: []byte("v"), Headers: schemas.AppendEnvelope(nil, &env)}
}

// input appends to the stream and commits past it.
func (l *memLog) input(rec streaming.Record) int64 {
	offset := l.append(stream, rec)
	l.committed[stream] = offset + 1
	return offset
}

// copyTo appends the copy of an input record to a companion.
func (l *memLog) copyTo(topic string, origin int64, moves, attempts int, reason streaming.Reason) {
	rec := l.topics[stream][origin]
	rec.Headers = schemas.AppendHop(rec.Headers[:len(rec.Headers):len(rec.Headers)], &streaming.Hop{
		Attempt: attempts, Moves: moves, Reason: reason,
		Origin: streaming.Origin{Topic: stream, Offset: origin, Timestamp: noon},
	})
	l.append(topic, rec)
}

func (l *memLog) note(n schemas.RedriveNote) {
	rec, err := n.Record(dead, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.append(dead, *rec)
}

func (l *memLog) mark(m streaming.Mark) {
	l.t.Helper()
	if m.Time.IsZero() {
		m.Time = noon.Add(10 * time.Millisecond)
	}
	value, err := schemas.EncodeMarks(l.t.Context(), codec, []streaming.Mark{m})
	if err != nil {
		l.t.Fatal(err)
	}
	l.append(ledger, streaming.Record{Value: value})
}

func id(s string) streaming.MessageID { return streaming.HashID("feed", s) }

func (l *memLog) done(name string, origin int64, moves, attempts int) {
	l.t.Helper()
	l.mark(streaming.Mark{Kind: streaming.MarkDone, ID: id(name), Origin: origin, Moves: moves, Attempts: attempts, Epoch: 1})
}

func (l *memLog) killed(name string, origin int64, moves, attempts int, reason streaming.Reason) {
	l.t.Helper()
	l.copyTo(dead, origin, moves, attempts, reason)
	l.mark(streaming.Mark{Kind: streaming.MarkDead, ID: id(name), Origin: origin, Moves: moves, Attempts: attempts, Epoch: 1})
}

func (l *memLog) audit() *Report { l.t.Helper(); return l.auditSince(nil) }

func (l *memLog) auditSince(earlier *Report) *Report {
	l.t.Helper()
	a, err := New(l.t.Context(), l, codec, Group{Agent: "agent", Streams: []string{"quakes"}, Types: []string{"quake.reported"}})
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := a.Read(l.t.Context(), earlier)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// terms are what a record can be, as counts.
type terms struct{ accepted, done, skipped, duplicates, retrying, dead, redeliveries int64 }

func (r *Report) terms() terms {
	return terms{r.Accepted, r.Done, r.Skipped, r.Duplicates, r.Retrying, r.Dead, r.Redeliveries}
}

func TestTermsOfOneRecord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		build func(l *memLog)
		want  terms
	}{
		"not committed":          {func(l *memLog) { l.append(stream, event("a")) }, terms{}},
		"done":                   {func(l *memLog) { l.done("a", l.input(event("a")), 0, 1) }, terms{accepted: 1, done: 1}},
		"done after two retries": {func(l *memLog) { l.done("a", l.input(event("a")), 2, 3) }, terms{accepted: 1, done: 1, redeliveries: 2}},
		"other type": {func(l *memLog) {
			l.input(event("a", func(e *streaming.Envelope) { e.Type = "quake.other" }))
		}, terms{accepted: 1, skipped: 1}},
		"other recipient": {func(l *memLog) {
			l.input(event("a", func(e *streaming.Envelope) { e.Recipient = "somebody" }))
		}, terms{accepted: 1, skipped: 1}},
		"retrying": {func(l *memLog) { l.copyTo(tier1, l.input(event("a")), 1, 1, "handler") }, terms{accepted: 1, retrying: 1}},
		"retrying in the second tier": {func(l *memLog) {
			o := l.input(event("a"))
			l.copyTo(tier1, o, 1, 1, "handler")
			l.copyTo(tier2, o, 2, 2, "handler")
		}, terms{accepted: 1, retrying: 1, redeliveries: 1}},
		"retried and done, the tier not committed": {func(l *memLog) {
			o := l.input(event("a"))
			l.copyTo(tier1, o, 1, 1, "handler")
			l.done("a", o, 1, 2)
		}, terms{accepted: 1, done: 1, redeliveries: 1}},
		"dead": {func(l *memLog) {
			o := l.input(event("a"))
			l.copyTo(tier1, o, 1, 1, "handler")
			l.killed("a", o, 2, 2, "handler")
		}, terms{accepted: 1, dead: 1, redeliveries: 1}},
		"dead, the mark lost in a crash": {func(l *memLog) {
			o := l.input(event("a"))
			l.copyTo(tier1, o, 1, 1, "handler")
			l.copyTo(dead, o, 2, 2, "handler")
		}, terms{accepted: 1, dead: 1, redeliveries: 1}},
		"dead without an identity": {func(l *memLog) {
			rec := event("a")
			rec.Headers = rec.Headers[:1]
			l.copyTo(dead, l.input(rec), 1, 0, "contract")
		}, terms{accepted: 1, dead: 1}},
		"redriven": {func(l *memLog) {
			o := l.input(event("a"))
			l.killed("a", o, 1, 1, "handler")
			l.copyTo(tier1, o, 2, 0, "handler")
		}, terms{accepted: 1, retrying: 1}},
		"redriven and done": {func(l *memLog) {
			o := l.input(event("a"))
			l.killed("a", o, 1, 1, "handler")
			l.copyTo(tier1, o, 2, 0, "handler")
			l.copyTo(tier1, o, 2, 0, "handler") // by a run that was killed, and by the next
			l.done("a", o, 2, 1)
			l.note(schemas.RedriveNote{Step: schemas.RedriveSettled, Run: "r", Offsets: []int64{0}})
		}, terms{accepted: 1, done: 1, redeliveries: 1}},
		"redriven and dead again": {func(l *memLog) {
			o := l.input(event("a"))
			l.killed("a", o, 1, 2, "handler")
			l.copyTo(tier1, o, 2, 0, "handler")
			l.note(schemas.RedriveNote{Step: schemas.RedriveSettled, Run: "r", Offsets: []int64{0}})
			l.killed("a", o, 3, 1, "permanent")
		}, terms{accepted: 1, dead: 1, redeliveries: 2}},
		"duplicate of one done": {func(l *memLog) {
			l.done("a", l.input(event("a")), 0, 1)
			l.input(event("a"))
		}, terms{accepted: 2, done: 1, duplicates: 1}},
		"duplicate before the one done": {func(l *memLog) {
			l.input(event("a"))
			l.done("a", l.input(event("a")), 0, 1)
		}, terms{accepted: 2, done: 1, duplicates: 1}},
		"duplicate of one dead": {func(l *memLog) {
			l.killed("a", l.input(event("a")), 1, 1, "permanent")
			l.input(event("a"))
		}, terms{accepted: 2, dead: 1, duplicates: 1}},
		"duplicate of one retrying": {func(l *memLog) {
			l.copyTo(tier1, l.input(event("a")), 1, 1, "handler")
			l.input(event("a"))
		}, terms{accepted: 2, retrying: 1, duplicates: 1}},
		"duplicate that was moved too": {func(l *memLog) {
			first, second := l.input(event("a")), l.input(event("a"))
			l.copyTo(tier1, first, 1, 1, "handler")
			l.copyTo(tier1, second, 1, 0, "")
			l.copyTo(tier2, first, 2, 2, "handler") // supersedes both
		}, terms{accepted: 2, retrying: 1, duplicates: 1, redeliveries: 1}},
		"same ID from another source": {func(l *memLog) {
			l.done("a", l.input(event("a")), 0, 1)
			o := l.input(event("a", func(e *streaming.Envelope) { e.Source = "other" }))
			l.mark(streaming.Mark{Kind: streaming.MarkDone, ID: streaming.HashID("other", "a"), Origin: o, Attempts: 1, Epoch: 1})
		}, terms{accepted: 2, done: 2}},
		"done above the committed offset": {func(l *memLog) {
			l.done("a", l.append(stream, event("a")), 0, 1)
		}, terms{}},
		"copies of another topic": {func(l *memLog) {
			l.done("a", l.input(event("a")), 0, 1)
			rec := event("b")
			rec.Headers = schemas.AppendHop(rec.Headers, &streaming.Hop{Moves: 1, Origin: streaming.Origin{Topic: tier1, Timestamp: noon}})
			l.append(dead, rec)
			l.append(dead, event("c"))
		}, terms{accepted: 1, done: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			l.mark(streaming.Mark{Kind: streaming.MarkClaim, Epoch: 1, Origin: -1})
			c.build(l)
			r := l.audit()
			if got := r.terms(); got != c.want || r.Conservation() != Exact {
				t.Errorf("%+v, want %+v; conservation: %s", got, c.want, r.Conservation())
			}
		})
	}
}

// TestWhatIsOff: what breaks the law is told, never made up for.
func TestWhatIsOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		build func(l *memLog)
		says  string
	}{
		"lost":        {func(l *memLog) { l.input(event("a")) }, "offset 0 (quake.reported a) has ended nowhere"},
		"lost of two": {func(l *memLog) { l.input(event("a")); l.input(event("a")) }, "offset 1 (quake.reported a) has ended nowhere"},
		"done and dead": {func(l *memLog) {
			o := l.input(event("a"))
			l.killed("a", o, 1, 1, "handler")
			l.done("a", o, 0, 1)
		}, "has ended twice"},
		"dead mark without a dead letter": {func(l *memLog) {
			l.mark(streaming.Mark{Kind: streaming.MarkDead, ID: id("a"), Origin: l.input(event("a")), Moves: 1, Epoch: 1})
		}, "has ended nowhere"},
		"unreadable mark": {func(l *memLog) {
			l.append(ledger, streaming.Record{Value: []byte("x")})
		}, "the marks cannot be read"},
		"many": {func(l *memLog) {
			for range 9 {
				l.input(event("a"))
			}
		}, "and 4 more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			l.mark(streaming.Mark{Kind: streaming.MarkClaim, Epoch: 1, Origin: -1})
			c.build(l)
			if got := l.audit().Conservation(); !strings.Contains(got, c.says) {
				t.Errorf("conservation is %q, want it to say %q", got, c.says)
			}
		})
	}
}

func TestReportDetailsAndSince(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	doneAfter := func(name string, d time.Duration) {
		l.mark(streaming.Mark{
			Kind: streaming.MarkDone, ID: id(name), Origin: l.input(event(name)), Attempts: 1, Time: noon.Add(d),
		})
	}
	doneAfter("a", 100*time.Millisecond)
	doneAfter("b", -time.Second) // a clock that is behind
	waits := l.input(event("w"))
	l.copyTo(tier1, waits, 1, 1, "handler")
	before := l.audit()
	if before.Latency != (Latency{P50: 0, P99: 100 * time.Millisecond}) || before.Retrying != 1 {
		t.Errorf("before: %+v", before)
	}

	doneAfter("c", 7*time.Millisecond)
	l.killed("w", waits, 2, 2, "handler")
	l.killed("d", l.input(event("d")), 1, 0, "expired")
	l.append(stream, event("e")) // not accepted yet
	after := l.auditSince(before)
	if after.Latency != (Latency{P50: 7 * time.Millisecond, P99: 100 * time.Millisecond}) {
		t.Errorf("latency %+v", after.Latency)
	}
	if want := map[streaming.Reason]int64{"handler": 1, "expired": 1}; !maps.Equal(after.DeadByReason, want) {
		t.Errorf("dead by reason %v", after.DeadByReason)
	}
	if after.Appended[stream] != 6 || after.Accepted != 5 || after.DoneByType["quake.reported"] != 3 {
		t.Errorf("after: %+v", after)
	}
	run := after.Since(before)
	if got, want := run.terms(), (terms{accepted: 2, done: 1, retrying: -1, dead: 2, redeliveries: 1}); got != want {
		t.Errorf("since: %+v, want %+v", got, want)
	}
	if run.Latency != (Latency{P50: 7 * time.Millisecond, P99: 7 * time.Millisecond}) || run.Conservation() != Exact || run.Appended[stream] != 3 {
		t.Errorf("since: %+v %s", run, run.Conservation())
	}
}

// TestScheduled: what waits for its own time is told apart from what has failed.
func TestScheduled(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	due := func(at time.Time) func(*streaming.Envelope) {
		return func(e *streaming.Envelope) { e.DeliverAt = at }
	}
	later := time.Now().Add(time.Hour)
	l.copyTo(tier2, l.input(event("waits", due(later))), 1, 0, "")
	l.copyTo(tier2, l.input(event("due", due(noon))), 1, 0, "")
	l.copyTo(tier1, l.input(event("failed")), 1, 1, "handler")
	tried := l.input(event("tried", due(later)))
	l.copyTo(tier2, tried, 1, 0, "")
	l.copyTo(tier1, tried, 2, 1, "handler")
	over := l.input(event("over", due(later)))
	l.copyTo(tier2, over, 1, 0, "")
	l.done("over", over, 1, 1)
	r := l.audit()
	if r.Retrying != 4 || r.Scheduled != 1 || r.Conservation() != Exact {
		t.Errorf("%d retrying, %d of them scheduled: %s", r.Retrying, r.Scheduled, r.Conservation())
	}
	if since := l.auditSince(r).Since(r); since.Retrying != 0 || since.Scheduled != 0 {
		t.Errorf("since: %+v", since)
	}
}

// TestTrimmedDuringTheAudit: a copy that moves on and is trimmed where it was,
// while it is read, is not missed.
func TestTrimmedDuringTheAudit(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	o := l.input(event("a"))
	l.copyTo(tier1, o, 1, 1, "handler")
	moved := false
	l.scanned = func() {
		if !moved {
			moved = true
			l.copyTo(tier2, o, 2, 2, "handler")
			l.starts[tier1], l.committed[tier1] = 1, 1
		}
	}
	r := l.audit()
	if r.Retrying != 1 || r.Conservation() != Exact {
		t.Errorf("%+v: %s", r.terms(), r.Conservation())
	}
}

func TestBacklogs(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.input(event("a"))
	l.append(stream, event("b"))
	l.copyTo(tier1, 0, 1, 1, "handler")
	l.append(tier1, event("x"))
	l.starts[tier1] = 1 // trimmed, never committed
	a, err := New(t.Context(), l, codec, Group{Agent: "agent", Streams: []string{"quakes"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Backlogs(t.Context(), a)
	if err != nil || b[0].Input != 1 || b[0].Retry != 1 || b[0].ByTopic[tier1] != 1 || b[0].Empty() {
		t.Errorf("%+v, %v", b, err)
	}
	l.committed[stream], l.committed[tier1] = 2, 2
	if b, err = Backlogs(t.Context(), a); err != nil || !b[0].Empty() {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestMissingTopic(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	delete(l.topics, ledger)
	_, err := New(t.Context(), l, codec, Group{Agent: "agent", Streams: []string{"quakes"}})
	if err == nil || !strings.Contains(err.Error(), ledger) {
		t.Errorf("error %v does not name the topic", err)
	}
}
