package retry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Log is what a redrive needs of the log.
type Log interface {
	Topics(ctx context.Context, prefix string) (map[string]int32, error)
	Committed(ctx context.Context, group string) (map[streaming.TopicPartition]int64, error)
	StartOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error)
	EndOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error)
	Scan(ctx context.Context, ranges []streaming.Range, each func(streaming.Record)) error
	// AppendSync returns when all records are acknowledged. Records of one
	// partition are written in their order.
	AppendSync(ctx context.Context, recs ...*streaming.Record) ([]int64, error)
}

// Redrive gives dead letters back to the group that they are of. The copy of a
// dead letter goes to the group's smallest retry topic, with one move more,
// attempts counted anew and no due time; the dead letter stays where it is. The
// group's workers may run or not.
//
// It may be killed between any two appends and be started again: a run that is
// not at its end goes on. A copy that is appended twice has the same moves twice;
// the lane handles one of them. That holds as long as the ledger remembers the
// message, so a run is to be brought to its end within the ledger's window.
type Redrive struct {
	Log       Log
	Codec     *schemas.Codec
	Group     string
	Inputs    []string // input topics
	Selection Selection
	// Discard lets the selected dead letters go instead: they hold their keys no
	// longer, and no later redrive takes them up. They stay dead, and readable.
	Discard bool
	By      string          // who asks for it; for the audit
	Rate    int             // dead letters per second; 0: no limit
	Clock   streaming.Clock // default: the machine's
	// Progress is told how many of the plan's dead letters are redriven.
	Progress func(done, of int)
}

const (
	chunkLetters   = 1000        // whose values are in memory at once
	settleInterval = time.Second // how long a copy may be without its note
	bursts         = 10          // that a second's rate is made of
)

// Run does what the plan says. What it has done before an error stays done;
// the next run of the same selection goes on.
func (r *Redrive) Run(ctx context.Context, plan *Plan) error {
	if r.Clock == nil {
		r.Clock = streaming.SystemClock{}
	}
	if r.Progress == nil {
		r.Progress = func(int, int) {}
	}
	w := &redriving{Redrive: r, plan: plan}
	for _, p := range plan.partitions {
		w.of += len(p.found) + len(p.todo)
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	r.Progress(0, w.of)
	for _, p := range plan.partitions {
		if err := w.partition(ctx, p); err != nil {
			return fmt.Errorf("redrive of %s/%d: %w", p.dead.Topic, p.dead.Partition, err)
		}
	}
	return w.end(ctx)
}

// redriving is a run under way.
type redriving struct {
	*Redrive
	plan     *Plan
	done, of int
	next     time.Time // when the rate allows the next copy
}

func (w *redriving) note(p *partition, n schemas.RedriveNote) (*streaming.Record, error) {
	n.Run, n.Time, n.By = w.plan.Run, w.Clock.Now().UTC(), w.By
	return n.Record(p.dead.Topic, p.dead.Partition)
}

// begin notes the run in each partition where it has something to do, before it
// does anything.
func (w *redriving) begin(ctx context.Context) error {
	selection, err := json.Marshal(w.Selection)
	if err != nil {
		return err
	}
	return w.noteAll(ctx, func(p *partition) *schemas.RedriveNote {
		if p.runs[w.plan.Run] != nil || len(p.found)+len(p.todo) == 0 {
			return nil
		}
		p.runs[w.plan.Run] = &runState{}
		return &schemas.RedriveNote{Step: schemas.RedriveBegin, Selection: selection, Discard: w.Discard}
	})
}

// end notes in each partition what the run came to there.
func (w *redriving) end(ctx context.Context) error {
	return w.noteAll(ctx, func(p *partition) *schemas.RedriveNote {
		if run := p.runs[w.plan.Run]; run == nil || run.ended {
			return nil
		}
		return &schemas.RedriveNote{Step: schemas.RedriveEnd, Redriven: p.redriven}
	})
}

func (w *redriving) noteAll(ctx context.Context, of func(*partition) *schemas.RedriveNote) error {
	var recs []*streaming.Record
	for _, p := range w.plan.partitions {
		n := of(p)
		if n == nil {
			continue
		}
		rec, err := w.note(p, *n)
		if err != nil {
			return err
		}
		recs = append(recs, rec)
	}
	if len(recs) == 0 {
		return nil
	}
	_, err := w.Log.AppendSync(ctx, recs...)
	return err
}

func (w *redriving) partition(ctx context.Context, p *partition) error {
	for chunk := range slices.Chunk(p.found, chunkLetters) {
		if err := w.settle(ctx, p, chunk, schemas.RedriveSettled); err != nil {
			return err
		}
	}
	// In order of origin, then moves: so is each key.
	slices.SortFunc(p.todo, func(a, b letter) int {
		return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.moves, b.moves))
	})
	for chunk := range slices.Chunk(p.todo, chunkLetters) {
		if w.Discard {
			if err := w.settle(ctx, p, chunk, schemas.RedriveDiscarded); err != nil {
				return err
			}
			continue
		}
		if err := w.chunk(ctx, p, chunk); err != nil {
			return err
		}
	}
	return nil
}

// chunk appends the copies of dead letters and notes them, at the latest a
// settleInterval later.
func (w *redriving) chunk(ctx context.Context, p *partition, chunk []letter) error {
	values, err := w.load(ctx, p, chunk)
	if err != nil {
		return err
	}
	appended := 0 // and not noted
	last := w.Clock.Now()
	for len(chunk) > appended {
		if err := w.pace(ctx); err != nil {
			return err
		}
		batch := w.batch(chunk[appended:], values)
		copies := make([]*streaming.Record, len(batch))
		for i, l := range batch {
			if copies[i], err = w.copyOf(p, values[l.offset]); err != nil {
				return err
			}
		}
		if _, err := w.Log.AppendSync(ctx, copies...); err != nil {
			return err
		}
		appended += len(batch)
		if w.Rate > 0 {
			w.next = w.next.Add(time.Duration(len(batch)) * time.Second / time.Duration(w.Rate))
		}
		if now := w.Clock.Now(); appended == len(chunk) || now.Sub(last) >= settleInterval {
			if err := w.settle(ctx, p, chunk[:appended], schemas.RedriveSettled); err != nil {
				return err
			}
			chunk, appended, last = chunk[appended:], 0, now
		}
	}
	return nil
}

// batch is the dead letters to be appended at once: no key twice, so that none
// is written if an older one of its key is refused.
func (w *redriving) batch(letters []letter, values map[int64]*streaming.Record) []letter {
	most := len(letters)
	if w.Rate > 0 {
		most = min(most, max(1, w.Rate/bursts))
	}
	keys := make(map[string]bool)
	for i, l := range letters[:most] {
		key := values[l.offset].Key
		if key != nil && keys[string(key)] {
			return letters[:i]
		}
		keys[string(key)] = true
	}
	return letters[:most]
}

// copyOf is the next copy of a dead letter: the original key, value and headers
// byte for byte, the reason and the error that it died of, attempts anew.
func (w *redriving) copyOf(p *partition, dead *streaming.Record) (*streaming.Record, error) {
	original, hop, ok, err := schemas.SplitHop(dead.Headers)
	if !ok {
		return nil, errors.Join(fmt.Errorf("offset %d is no dead letter any more", dead.Offset), err)
	}
	hop.Attempt, hop.Due = 0, 0
	hop.Moves++
	return &streaming.Record{
		Topic: p.tier(), Partition: p.dead.Partition, Key: dead.Key, Value: dead.Value,
		Headers: schemas.AppendHop(original, &hop),
	}, nil
}

// settle notes that the copies of dead letters are acknowledged, or that they are
// let go.
func (w *redriving) settle(ctx context.Context, p *partition, letters []letter, step schemas.RedriveStep) error {
	n := schemas.RedriveNote{Step: step}
	for _, l := range letters {
		n.Offsets = append(n.Offsets, l.offset)
	}
	rec, err := w.note(p, n)
	if err != nil {
		return err
	}
	if _, err := w.Log.AppendSync(ctx, rec); err != nil {
		return err
	}
	for _, l := range letters {
		p.redriven[l.reason]++
		w.plan.Redriven[l.reason]++
	}
	w.done += len(letters)
	w.Progress(w.done, w.of)
	return nil
}

// load reads dead letters again.
func (w *redriving) load(ctx context.Context, p *partition, chunk []letter) (map[int64]*streaming.Record, error) {
	whole := streaming.Range{TopicPartition: p.dead, From: chunk[0].offset, To: chunk[0].offset + 1}
	wanted := make(map[int64]*streaming.Record)
	for _, l := range chunk {
		whole.From, whole.To = min(whole.From, l.offset), max(whole.To, l.offset+1)
		wanted[l.offset] = nil
	}
	err := w.Log.Scan(ctx, []streaming.Range{whole}, func(rec streaming.Record) {
		if _, ok := wanted[rec.Offset]; ok {
			wanted[rec.Offset] = &rec
		}
	})
	if err != nil {
		return nil, err
	}
	for offset, rec := range wanted {
		if rec == nil {
			return nil, fmt.Errorf("the dead letter at offset %d was deleted meanwhile", offset)
		}
	}
	return wanted, nil
}

// pace waits until the rate allows the next copy.
func (w *redriving) pace(ctx context.Context) error {
	now := w.Clock.Now()
	if w.next.Before(now) {
		w.next = now
	}
	if wait := w.next.Sub(now); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
