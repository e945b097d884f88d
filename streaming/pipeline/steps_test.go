package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledgerLog is a ledger partition. Other topics take nothing.
type ledgerLog struct {
	mu    sync.Mutex
	recs  []streaming.Record
	hold  chan struct{} // not nil: acknowledgements wait for it
	fails error         // of each append
	loads int
}

func (f *ledgerLog) Append(rec *streaming.Record, done func(int64, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fails; err != nil {
		go done(0, err)
		return
	}
	offset := f.put(*rec)
	hold := f.hold
	go func() {
		if hold != nil {
			<-hold
		}
		done(offset, nil)
	}()
}

// topics are those that were written to since the lane is there, in order.
func (f *ledgerLog) topics() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, rec := range f.recs {
		if rec.Topic != "" { // not the bench's own
			all = append(all, rec.Topic)
		}
	}
	return all
}

func (f *ledgerLog) put(rec streaming.Record) int64 {
	rec.Offset = int64(len(f.recs))
	f.recs = append(f.recs, rec)
	return rec.Offset
}

func (f *ledgerLog) Load(_ context.Context, _ string, _ int32, offset int64) (streaming.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	rec := f.recs[offset]
	if rec.Value == nil {
		return rec, streaming.ErrNoRecord
	}
	return rec, nil
}

type handle func(context.Context, *streaming.Delivery) error

func (handle) New() any                                                  { return new(schemas.ErrorReply) }
func (h handle) Handle(ctx context.Context, d *streaming.Delivery) error { return h(ctx, d) }

// bench is a lane on a ledger whose offset 0 is its claim.
type bench struct {
	t     *testing.T
	log   *ledgerLog
	lane  *Lane
	codec *schemas.Codec
	next  int64
	fails error // why the lane may fail
}

func newBench(t *testing.T, held int, h handle) *bench {
	b := &bench{t: t, log: &ledgerLog{}, codec: schemas.NewCodec(schemas.NewMemoryRegistry())}
	b.mark(streaming.Mark{Kind: streaming.MarkClaim, Epoch: 1})
	b.lane = NewLane(t.Context(), Config{
		Agent: "taker", Group: "taker", Namespace: "parley", Topic: "in", Inbox: true, Tiers: []string{"tier"}, LedgerTopic: "ledger",
		Handlers: map[string]streaming.Handler{"agent.error": h}, Policy: retry.Policy{Tiers: []time.Duration{time.Hour}, Attempts: 5},
		Parallel: 4, MaxPending: 100, MaxHeld: 100, StepBytes: 100, MessageStepBytes: 1000, HeldStepBytes: held,
		Codec: b.codec, Log: b.log, Loader: b.log, Clock: streaming.SystemClock{}, Observer: Unobserved{},
		Logger: slog.New(slog.DiscardHandler), Trace: func(p, s string) (string, string) { return p, s },
		OnRoom: func() {}, OnStop: func() {}, OnFail: func(err error) {
			if b.fails == nil || !errors.Is(err, b.fails) {
				t.Errorf("the lane failed: %v", err)
			}
		},
		Facts: ledger.NewWindow(time.Hour, 0, time.Now),
	})
	t.Cleanup(b.lane.cancel)
	return b
}

func (b *bench) mark(marks ...streaming.Mark) int64 {
	b.t.Helper()
	value, err := schemas.EncodeMarks(b.t.Context(), b.codec, marks)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	return b.log.put(streaming.Record{Value: value})
}

func (b *bench) offer(id string) {
	b.t.Helper()
	value, err := b.codec.Encode(b.t.Context(), &schemas.ErrorReply{})
	if err != nil {
		b.t.Fatal(err)
	}
	env := streaming.Envelope{ID: id, Source: "giver", Type: "agent.error", Hops: 3}
	b.lane.Offer(0, []streaming.Record{{
		Topic: "in", Offset: b.next, Key: []byte("k"), Value: value, Headers: schemas.AppendEnvelope(nil, &env),
	}})
	b.next++
}

// run is a step that stores what its function made.
func run(ctx context.Context, d *streaming.Delivery, name, result string) (string, error) {
	known, stored, err := d.Steps.Begin(ctx, name)
	if err != nil || stored {
		return string(known), err
	}
	return result, d.Steps.Store(ctx, name, []byte(result))
}

// A result that is not in memory is read from the ledger again: over the bound,
// of a dead message, and from before the lane was opened.
func TestResultsInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(map[string]string)
		b := newBench(t, 3, func(ctx context.Context, d *streaming.Delivery) error {
			for _, name := range []string{"a", "b", "c"} {
				result, err := run(ctx, d, name, name+"1")
				if err != nil {
					t.Error(err)
				}
				got[fmt.Sprint(d.Attempt, name)] = result
			}
			if d.Attempt == 1 {
				return &streaming.RetryError{After: time.Minute, Err: errors.New("again")} // waits in memory
			}
			return nil
		})
		id := streaming.HashID("giver", "m")
		old := streaming.Mark{Kind: streaming.MarkStep, ID: id, Epoch: 1, Step: "b", Result: []byte("old")}
		b.lane.RecallMark(&old, b.mark(old))
		b.lane.Open(1, 0, []int64{0})
		b.offer("m")
		time.Sleep(2 * time.Minute) // of the bubble
		synctest.Wait()
		if want := "map[1a:a1 1b:old 1c:c1 2a:a1 2b:old 2c:c1]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if b.log.loads != 2 { // a and c in the second attempt; b fills the bound
			t.Errorf("%d results were read again", b.log.loads)
		}
		if b.lane.steps.room != 3 || len(b.lane.steps.steps) != 0 {
			t.Errorf("after the message is done %v is kept, room is %d", b.lane.steps.steps, b.lane.steps.room)
		}
		b.lane.Abort()
	})
}

// An attempt that timed out while its step was under way leaves a result behind:
// the next attempt waits for it and does not run the function.
func TestTheFirstResultWinsOverALaterAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		b := newBench(t, 1000, func(ctx context.Context, d *streaming.Delivery) error {
			if d.Attempt == 1 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Second)
				defer cancel()
			}
			result, err := run(ctx, d, "ask", fmt.Sprint("of attempt ", d.Attempt))
			if err != nil {
				return &streaming.RetryError{After: time.Second, Err: err}
			}
			got = append(got, result)
			return nil
		})
		b.log.hold = make(chan struct{})
		b.lane.Open(0, 0, []int64{0})
		b.offer("m")
		time.Sleep(time.Minute)
		close(b.log.hold)
		synctest.Wait()
		if fmt.Sprint(got) != "[of attempt 1]" {
			t.Errorf("got %q", got)
		}
		b.lane.Abort()
	})
}

func TestAStepAfterItsHandlerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error, 1)
		b := newBench(t, 1000, func(ctx context.Context, d *streaming.Delivery) error {
			if _, _, err := d.Steps.Begin(ctx, "late"); err != nil {
				t.Error(err)
			}
			go func() {
				time.Sleep(time.Second)
				errs <- d.Steps.Store(ctx, "late", nil)
			}()
			return nil
		})
		b.lane.Open(0, 0, []int64{0})
		b.offer("m")
		if err := <-errs; !errors.Is(err, streaming.ErrStepTooLate) {
			t.Errorf("got %v", err)
		}
		b.lane.Abort()
	})
}

// A lane that cannot write its ledger does not keep its handlers waiting.
func TestAStepThatCannotBeStoredIsAnError(t *testing.T) {
	refused := fmt.Errorf("%w: by the broker", streaming.ErrRecordTooLarge)
	broken := errors.New("the log is gone")
	for name, tc := range map[string]struct{ fails, want error }{
		"record refused": {refused, streaming.ErrRecordTooLarge},
		"log broken":     {broken, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				errs := make(chan error, 1)
				b := newBench(t, 1000, func(ctx context.Context, d *streaming.Delivery) error {
					_, err := run(ctx, d, "pay", "1")
					errs <- err
					return nil
				})
				b.log.fails, b.fails = tc.fails, tc.fails
				b.lane.Open(0, 0, []int64{0})
				b.offer("m")
				synctest.Wait()
				select {
				case err := <-errs:
					if !errors.Is(err, tc.want) {
						t.Errorf("got %v", err)
					}
				default:
					t.Error("the handler waits")
				}
				b.lane.Abort()
			})
		})
	}
}

func TestStepsOfADoneMessageAreNotRecalled(t *testing.T) {
	b := newBench(t, 1000, nil)
	id := streaming.HashID("giver", "m")
	step := streaming.Mark{Kind: streaming.MarkStep, ID: id, Epoch: 1, Step: "a", Result: []byte("1")}
	b.lane.RecallMark(&step, 1)
	if b.lane.StepFloor() != 1 {
		t.Errorf("the ledger may be trimmed below %d", b.lane.StepFloor())
	}
	b.lane.RecallMark(&step, 5) // carried forward
	if b.lane.StepFloor() != 5 {
		t.Errorf("the ledger may be trimmed below %d", b.lane.StepFloor())
	}
	b.lane.RecallMark(&streaming.Mark{Kind: streaming.MarkDone, ID: id, Epoch: 1}, 6)
	b.lane.RecallMark(&step, 7) // carried forward while the mark was under way
	if n := len(b.lane.steps.steps); n != 0 {
		t.Errorf("%d messages have steps", n)
	}
}
