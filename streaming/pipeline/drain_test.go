package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// nowhere acknowledges all it is given.
type nowhere struct{}

func (nowhere) Append(_ *streaming.Record, done func(int64, error)) { done(0, nil) }

func (nowhere) Load(context.Context, string, int32, int64) (streaming.Record, error) {
	return streaming.Record{}, errors.New("nothing is here")
}

// slowOrLater takes long over a message without a reason, and wants the others
// to come again soon.
type slowOrLater struct{}

func (slowOrLater) New() any { return new(schemas.ErrorReply) }

func (slowOrLater) Handle(_ context.Context, d *streaming.Delivery) error {
	if d.Payload.(*schemas.ErrorReply).Reason != "" {
		return &streaming.RetryError{After: time.Millisecond, Err: errors.New("soon")}
	}
	time.Sleep(5 * time.Second)
	return nil
}

// A lane that drains starts nothing: it must not spin while something is due,
// which in virtual time would stop the clock.
func TestADrainingLaneSleepsWhileARetryIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		codec := schemas.NewCodec(schemas.NewMemoryRegistry())
		clock := streaming.SystemClock{}
		l := pipeline.NewLane(t.Context(), pipeline.Config{
			Agent: "a", Group: "a", Namespace: "parley", Topic: "in", Inbox: true, Tiers: []string{"tier"}, DeadLetterTopic: "dead", LedgerTopic: "ledger",
			Handlers: map[string]streaming.Handler{"agent.error": slowOrLater{}}, Policy: retry.Policy{Tiers: []time.Duration{time.Second}, Attempts: 3},
			Parallel: 4, MaxPending: 10, MaxHeld: 10, Codec: codec, Log: nowhere{}, Loader: nowhere{}, Clock: clock, Observer: pipeline.Unobserved{},
			Logger: slog.New(slog.DiscardHandler), Trace: func(p, s string) (string, string) { return p, s },
			OnRoom: func() {}, OnStop: func() {}, OnFail: func(err error) { t.Error(err) }, OnFenced: func() {},
			Facts: ledger.NewWindow(time.Hour, 100, clock.Now),
		})
		l.Open(1, 0, []int64{0})
		var recs []streaming.Record
		for i, reason := range []string{"", "later"} {
			value, err := codec.Encode(t.Context(), &schemas.ErrorReply{Reason: reason})
			if err != nil {
				t.Fatal(err)
			}
			env := streaming.Envelope{ID: "id" + reason, Source: "s", Type: "agent.error", Hops: 1}
			recs = append(recs, streaming.Record{Topic: "in", Offset: int64(i), Key: []byte(reason), Value: value, Headers: schemas.AppendEnvelope(nil, &env)})
		}
		l.Offer(0, recs)
		synctest.Wait()
		begin := time.Now()
		l.Close(t.Context(), time.Minute)
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("drained after %s instead of the 5s that its handler takes", took)
		}
	})
}
