package quake

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

// feedBatch is how many records are sent before their acknowledgements are
// waited for.
const feedBatch = 100

// Plan says what feed sends. The same plan sends the same messages, under the
// same IDs, however often it is sent.
type Plan struct {
	Events     []Reported
	Seed       uint64
	Duplicates int // events sent a second time
	Malformed  int // records that break the contract
}

// Size is the number of records that the plan sends.
func (p Plan) Size() int {
	if len(p.Events) == 0 {
		return 0
	}
	return len(p.Events) + p.Duplicates + p.Malformed
}

// EventID is the message ID of an event: of its own ID and update time, so that
// an event has a new message only when the network has changed it.
func EventID(e *Reported) string {
	return fmt.Sprintf("usgs:%s:%d", e.Eventid, e.Updated.UnixMilli())
}

// step is one record to send: an event, or a malformed record made of it.
type step struct {
	at        float64 // its place among the events
	event     int
	malformed int // number of the malformed record; -1 is none
}

// steps is the order of sending: the oldest event first, as the feed has the
// newest first. A duplicate comes anywhere after its event.
func (p Plan) steps() []step {
	n := len(p.Events)
	if n == 0 {
		return nil
	}
	var all []step
	for i := range n {
		all = append(all, step{at: float64(i), event: n - 1 - i, malformed: -1})
	}
	for i := range p.Duplicates {
		r := p.rand(1, i)
		first := r.IntN(n)
		at := float64(first) + r.Float64()*float64(n-first)
		all = append(all, step{at: at, event: n - 1 - first, malformed: -1})
	}
	for i := range p.Malformed {
		r := p.rand(2, i)
		all = append(all, step{at: r.Float64() * float64(n), event: r.IntN(n), malformed: i})
	}
	slices.SortStableFunc(all, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return all
}

// rand is the source for one duplicate or malformed record: its own, so that
// another number of them changes no other.
func (p Plan) rand(purpose uint64, i int) *rand.Rand {
	return rand.New(rand.NewPCG(p.Seed, purpose<<32|uint64(i)))
}

// FeedContract is the contract of what feeds the stream, which is a sender and no
// agent.
func FeedContract() contract.Contract {
	a := agents.New(FeedAgent, agents.Config{})
	agents.Produces[Reported](a, agents.ToStream(Stream))
	return a.Contract()
}

// Appender appends records and waits for them: *kafka.Log.
type Appender interface {
	AppendSync(ctx context.Context, recs ...*streaming.Record) ([]int64, error)
}

// Feeder sends plans.
type Feeder struct {
	Sender    *agents.Sender // with the name FeedAgent
	Log       Appender       // for what no Sender would send
	Codec     *schemas.Codec
	Namespace streaming.Namespace // default: parley
	Progress  func(sent int)      // default: none
}

// Feed sends a plan and returns when all of it is durable. After an error, or
// when the process was killed, the plan is sent again from its start: what had
// been sent is recognised.
func (f *Feeder) Feed(ctx context.Context, p Plan) error {
	sent := 0
	for batch := range slices.Chunk(p.steps(), feedBatch) {
		var drafts []agents.Draft
		var broken []*streaming.Record
		for _, s := range batch {
			e := &p.Events[s.event]
			if s.malformed < 0 {
				drafts = append(drafts, f.Sender.ToStream(Stream, e, agents.ID(EventID(e)), agents.Key(e.Eventid)))
				continue
			}
			rec, err := f.malformed(ctx, p, s.malformed, e)
			if err != nil {
				return fmt.Errorf("feed: %w", err)
			}
			broken = append(broken, rec)
		}
		if err := f.Sender.Send(ctx, drafts...); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		if _, err := f.Log.AppendSync(ctx, broken...); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		sent += len(batch)
		if f.Progress != nil {
			f.Progress(sent)
		}
	}
	return nil
}
