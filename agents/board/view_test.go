package board_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// written is a record of the board as the keeper writes it.
func (s *shop) written(t testing.TB, key string, version int64, cents int64) *streaming.Record {
	t.Helper()
	env := streaming.Envelope{
		ID: schemas.NewID(), Source: "board-prices", Type: "test.price", Kind: streaming.KindStateDiff, Sequence: version,
		CausationID: fmt.Sprint(key, version, cents), Hops: 9,
	}
	rec := &streaming.Record{Topic: "parley.state.prices", Partition: -1, Key: []byte(key), Headers: schemas.AppendEnvelope(nil, &env)}
	if cents >= 0 {
		value, err := s.Codec().Encode(t.Context(), price{Cents: cents})
		if err != nil {
			t.Fatal(err)
		}
		rec.Value = value
	}
	return rec
}

func (s *shop) write(t testing.TB, recs ...*streaming.Record) {
	t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: s.cluster.Brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.AppendSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
}

// A board can be read before it has a keeper, and a new view has all of it.
func TestAViewOfAnEmptyBoard(t *testing.T) {
	s := newShop(t)
	v := s.open(t)
	if p, version, ok := v.Get("anvil"); ok || version != 0 || p != (price{}) || v.Len() != 0 {
		t.Errorf("an empty board has %+v at %d", p, version)
	}
	s.start(t, prices.Keeper(quick))
	want := map[string]board.Entry[price]{}
	for i := range 50 {
		key := fmt.Sprint("k", i%20)
		version, err := prices.Set(t.Context(), s.r, key, price{Cents: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		want[key] = board.Entry[price]{Value: price{Cents: int64(i)}, Version: version}
		if p := wait(t, v, key, version); p != fmt.Sprintf("%d at %d, true", i, version) {
			t.Fatalf("its own write is read as %s", p)
		}
	}
	for what, view := range map[string]*board.View[price]{"the first": v, "a new one": s.open(t)} {
		if got := maps.Collect(view.All()); !maps.Equal(got, want) || view.Len() != len(want) {
			t.Errorf("%s has %v, want %v", what, got, want)
		}
	}
	if _, err := prices.Delete(t.Context(), s.r, "k1", board.Any); err != nil {
		t.Fatal(err)
	}
	if p := wait(t, v, "k1", 4); p != "0 at 4, false" {
		t.Errorf("deleted, it is %s", p)
	}
	any, err := board.OpenAny(t.Context(), s.Platform, "prices")
	if err != nil {
		t.Fatal(err)
	}
	defer any.Close()
	if value, version, ok := any.Get("k2"); fmt.Sprint(value, version, ok) != "map[by: cents:42] 3 true" {
		t.Errorf("without its type it is %v at %d, %t", value, version, ok)
	}
}

// A bad record is counted and logged once; its key keeps what it had.
func TestBadRecords(t *testing.T) {
	var log logged
	s := newShop(t, func(c *agents.PlatformConfig) { c.Logger = log.logger() })
	v := s.open(t)
	good := s.written(t, "anvil", 1, 5)
	cut, other, unknown, kind, version, headless, keyless := s.written(t, "anvil", 2, 6), s.written(t, "anvil", 3, 6), s.written(t, "anvil", 4, 6),
		s.written(t, "anvil", 5, 6), s.written(t, "anvil", 0, 6), s.written(t, "anvil", 6, 6), s.written(t, "", 1, 6)
	cut.Value = cut.Value[:5]
	other.Value, _ = s.Codec().Encode(t.Context(), &schemas.Ack{})
	unknown.Value = []byte{0, 0, 0, 99, 99, 1}
	kind.Headers = slices.DeleteFunc(kind.Headers, func(h streaming.Header) bool { return h.Key == "ce_kind" })
	headless.Headers = nil
	keyless.Key = nil
	s.write(t, good)
	s.write(t, cut, other, unknown, kind, version, headless)
	s.write(t, keyless)
	eventually(t, "the bad records", func() bool { return s.counter(t, "parley_board_bad_total", "record") == 7 })
	if p := got(v.Get("anvil")); p != "5 at 1, true" {
		t.Errorf("after bad records it is %s", p)
	}
	if n := log.count("cannot be read"); n != 2 {
		t.Errorf("%d lines tell of two keys", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var bad *board.UnreadableError
	if err := v.Wait(ctx, "anvil", 5); !errors.As(err, &bad) || bad.Version != 5 || bad.Offset == 0 {
		t.Errorf("waiting for a bad version: %v", err)
	}
	if n := len(v.Unreadable()); n != 2 {
		t.Errorf("%d keys are unreadable", n)
	}
	s.write(t, s.written(t, "anvil", 7, 8))
	if p := wait(t, v, "anvil", 7); p != "8 at 7, true" {
		t.Errorf("set again it is %s", p)
	}
	fresh := s.open(t)
	if p := got(fresh.Get("anvil")); p != "8 at 7, true" {
		t.Errorf("a new view has %s", p)
	}
}

// What a keeper wrote that was frozen meanwhile, and what was written twice, takes
// nothing back.
func TestAViewOnlyGoesForward(t *testing.T) {
	s := newShop(t, func(c *agents.PlatformConfig) { c.Partitions = 1 })
	v := s.open(t)
	two := s.written(t, "anvil", 2, 2)
	s.write(t, s.written(t, "anvil", 1, 1), two, s.written(t, "anvil", 3, 3), two, s.written(t, "anvil", 1, 9), s.written(t, "anvil", 2, -1), s.written(t, "rope", 1, 1))
	wait(t, v, "rope", 1)
	if p := got(v.Get("anvil")); p != "3 at 3, true" {
		t.Error(p)
	}
	from := v.Snapshot()
	s.write(t, two, s.written(t, "anvil", 3, 3), s.written(t, "rope", 2, 2)) // a run that was repeated
	wait(t, v, "rope", 2)
	for _, c := range v.Snapshot().Diff(from) {
		if c.Key == "anvil" {
			t.Errorf("what came twice is a change: %+v", c)
		}
	}
}

// Snapshots do not change, and Diff is what a comparison of all keys says.
func TestSnapshotsAndDiff(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := newShop(t)
	v := s.open(t)
	type state = map[string]board.Entry[price]
	versions, model := map[string]int64{}, state{}
	var snapshots []*board.Snapshot[price]
	var models []state
	for range 30 {
		var recs []*streaming.Record
		last := ""
		for range r.IntN(60) {
			key := fmt.Sprint("k", r.IntN(300))
			versions[key]++
			cents := r.Int64N(50) - 10
			if cents < 0 {
				cents = -1
				delete(model, key)
			} else {
				model[key] = board.Entry[price]{Value: price{Cents: cents}, Version: versions[key]}
			}
			recs, last = append(recs, s.written(t, key, versions[key], cents)), key
		}
		if last != "" {
			s.write(t, recs...)
			for _, rec := range recs {
				wait(t, v, string(rec.Key), versions[string(rec.Key)])
			}
		}
		snapshots, models = append(snapshots, v.Snapshot()), append(models, maps.Clone(model))
	}
	for i, snap := range snapshots {
		if got := maps.Collect(snap.All()); !maps.Equal(got, models[i]) || snap.Len() != len(models[i]) {
			t.Fatalf("snapshot %d has changed", i)
		}
		for j := range i + 1 {
			want := map[string]string{}
			for key, e := range models[i] {
				switch was, ok := models[j][key]; {
				case !ok:
					want[key] = fmt.Sprint(board.Added, e)
				case was.Version != e.Version:
					want[key] = fmt.Sprint(board.Changed, e)
				}
			}
			for key := range models[j] {
				if _, ok := models[i][key]; !ok {
					want[key] = string(board.Removed)
				}
			}
			got := map[string]string{}
			for _, c := range snap.Diff(snapshots[j]) {
				got[c.Key] = string(c.Kind)
				if c.Kind != board.Removed {
					got[c.Key] = fmt.Sprint(c.Kind, board.Entry[price]{Value: c.Value, Version: c.Version})
				}
				if was := models[j][c.Key]; was.Version != 0 && was.Version != c.Before || c.Version <= c.Before {
					t.Fatalf("%+v is after version %d", c, was.Version)
				}
			}
			if !maps.Equal(got, want) {
				t.Fatalf("from %d to %d: %v, want %v", j, i, got, want)
			}
		}
	}
	var read int64
	for _, offset := range snapshots[len(snapshots)-1].Position() {
		read += offset
	}
	var written int64
	for _, n := range versions {
		written += n
	}
	if read != written {
		t.Errorf("the position says %d records, %d are there", read, written)
	}
}

// A slow watcher sees the last of each key, and the keys in the order of their last
// changes.
func TestWatch(t *testing.T) {
	s := newShop(t, func(c *agents.PlatformConfig) { c.Partitions = 1 })
	v := s.open(t)
	s.write(t, s.written(t, "old", 1, 1))
	wait(t, v, "old", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes := v.Watch(ctx)
	s.write(t, s.written(t, "a", 1, 1), s.written(t, "b", 1, 1), s.written(t, "a", 2, 2), s.written(t, "gone", 1, 1), s.written(t, "gone", 2, -1), s.written(t, "old", 2, -1))
	wait(t, v, "old", 2)
	var seen []string
	for c := range changes {
		seen = append(seen, fmt.Sprintf("%s %s %d<%d", c.Kind, c.Key, c.Version, c.Before))
		switch len(seen) {
		case 3:
			s.write(t, s.written(t, "b", 2, 7))
		case 4:
			v.Close()
		}
	}
	want := "added b 1<0, added a 2<0, removed old 2<1, changed b 2<1"
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("seen %s, want %s", got, want)
	}
	if err := v.Err(); !errors.Is(err, board.ErrClosed) {
		t.Errorf("closed, it says %v", err)
	}
	if err := v.Wait(t.Context(), "b", 9); !errors.Is(err, board.ErrClosed) {
		t.Errorf("waiting at a closed view: %v", err)
	}
	cancel()
	for range v.Watch(ctx) {
		t.Error("a change after the end")
	}
}

// While the registry is down a view stands still, and loses nothing.
func TestAViewWaitsForTheRegistry(t *testing.T) {
	s := newShop(t)
	s.open(t)
	s.write(t, s.written(t, "anvil", 1, 5), s.written(t, "anvil", 2, 6))
	down := &outage{Schemas: s.cluster.Schemas}
	down.left.Store(1)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: s.cluster.Brokers, Schemas: down, Metrics: s.Metrics()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := prices.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if p := got(v.Get("anvil")); p != "6 at 2, true" || down.left.Load() != 0 || s.counter(t, "parley_board_bad_total", "record") != 0 {
		t.Errorf("%s; %d outages left", p, down.left.Load())
	}
	// One that does not come back in time.
	down.left.Store(1000)
	p, err = agents.Connect(t.Context(), agents.PlatformConfig{Brokers: s.cluster.Brokers, Schemas: down})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := prices.Open(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("opened without a registry: %v", err)
	}
}

// outage is a registry that does not answer for some questions.
type outage struct {
	schemas.Schemas
	left atomic.Int64
}

func (o *outage) Schema(ctx context.Context, id int) (avro.Schema, error) {
	if o.left.Add(-1) >= 0 {
		return nil, &schemas.RegistryUnavailableError{URL: "test", Err: errors.New("down")}
	}
	o.left.Store(0)
	return o.Schemas.Schema(ctx, id)
}
