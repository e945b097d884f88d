package ledger

import (
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

var seed = flag.Uint64("seed", 0, "replays a random test; 0: a new one")

func chance(t testing.TB) *rand.Rand {
	t.Helper()
	s := *seed
	for s == 0 {
		s = rand.Uint64()
	}
	t.Logf("replay: go test ./streaming/ledger -run '%s' -seed %d", t.Name(), s)
	return rand.New(rand.NewPCG(s, 0))
}

var start = time.UnixMilli(1_700_000_000_000)

func id(n uint64) (id streaming.MessageID) {
	return streaming.HashID("s", string(binary.BigEndian.AppendUint64(nil, n)))
}

// model is a window as one would write it first.
type model struct {
	span  time.Duration
	size  int
	now   *time.Time
	order []remembered
	added int
}

type remembered struct {
	id    streaming.MessageID
	fact  lane.Fact
	at    time.Time
	stale bool
}

func (m *model) find(id streaming.MessageID) *remembered {
	for i := range m.order {
		if r := &m.order[i]; r.id == id && !r.stale {
			return r
		}
	}
	return nil
}

func (m *model) settle(id streaming.MessageID, f lane.Fact, at time.Time) {
	if r := m.find(id); r != nil {
		if r.fact.Done || !f.Done && r.fact.Moves >= f.Moves {
			return
		}
		r.stale = true
	}
	m.added++
	m.order = append(m.order, remembered{id: id, fact: f, at: at})
}

func (m *model) evict(live func(streaming.MessageID, int64) bool) {
	left := min(len(m.order), 2*m.added+evictAtLeast)
	m.added = 0
	for range left {
		r := m.order[0]
		if !r.at.Before(m.now.Add(-m.span)) && len(m.order) <= m.size {
			return
		}
		m.order = m.order[1:]
		if !r.stale && live(r.id, r.fact.Origin) {
			m.order = append(m.order, r)
		}
	}
}

func (m *model) len() (n int) {
	for i := range m.order {
		if !m.order[i].stale {
			n++
		}
	}
	return n
}

func TestWindowIsLikeItsModel(t *testing.T) {
	t.Parallel()
	r := chance(t)
	for range 100 {
		now := start
		w := NewWindow(time.Duration(1+r.IntN(200))*time.Second, 1+r.IntN(200), func() time.Time { return now })
		w.entries.first = -uint32(r.IntN(1000)) // the numbers wrap
		w.entries.next = w.entries.first
		m := &model{span: w.Span, size: w.Size, now: &now}
		alive := make(map[streaming.MessageID]bool)
		known := uint64(1 + r.IntN(500))
		for range 2000 {
			x := id(r.Uint64N(known))
			switch r.IntN(10) {
			case 0:
				now = now.Add(time.Duration(r.IntN(20_000)) * time.Millisecond)
			case 1:
				needed := func(id streaming.MessageID, origin int64) bool { return alive[id] || origin > math.MaxInt64/8*7 }
				w.Evict(needed)
				m.evict(needed)
			case 2:
				alive[x] = r.IntN(4) == 0
			case 3, 4, 5, 6:
				f := lane.Fact{Done: r.IntN(3) > 0, Origin: r.Int64()}
				if !f.Done {
					f.Moves = 1 + r.IntN(5)
				}
				at := now.Add(-time.Duration(r.IntN(3000)) * time.Millisecond)
				w.SettleAt(x, f, at)
				m.settle(x, f, at)
			default:
				f, ok := w.Settled(x)
				want := m.find(x)
				if ok != (want != nil) || ok && f != want.fact {
					t.Fatalf("Settled(%x) is %v, %v; the model has %v", x, f, ok, want)
				}
			}
			if w.Len() != m.len() {
				t.Fatalf("%d messages, the model has %d", w.Len(), m.len())
			}
		}
	}
}

func TestAMillionMessagesTake64MiB(t *testing.T) {
	var w *Window
	clock := func() time.Time { return start }
	before := liveHeap()
	w = NewWindow(time.Hour, 1_000_000, clock)
	worst := uint64(0)
	for n := range uint64(1_100_000) {
		slots := len(w.index.slots)
		w.SettleAt(id(n), lane.Fact{Done: true, Origin: int64(n)}, start)
		w.Evict(nobody)
		if grown := len(w.index.slots); grown != slots { // the old slots were there while it grew
			worst = max(worst, liveHeap()-before+8*uint64(slots))
		}
	}
	worst = max(worst, liveHeap()-before)
	if w.Len() != 1_000_000 {
		t.Fatalf("%d messages", w.Len())
	}
	runtime.KeepAlive(w)
	t.Logf("%.1f MiB at most", float64(worst)/(1<<20))
	if worst > 64<<20 {
		t.Errorf("%d bytes of heap", worst)
	}
}

func nobody(streaming.MessageID, int64) bool { return false }

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkSettle(b *testing.B) {
	ids := make([]streaming.MessageID, 2_000_000)
	for n := range ids {
		ids[n] = id(uint64(n))
	}
	// Each message is asked for, then settled, with a million remembered.
	b.Run("window", func(b *testing.B) {
		w := NewWindow(time.Hour, 1_000_000, func() time.Time { return start })
		work := func(n int) {
			x := ids[n%len(ids)]
			if _, ok := w.Settled(x); ok {
				b.Fatal("known")
			}
			w.SettleAt(x, lane.Fact{Done: true, Origin: int64(n)}, start)
			w.Evict(nobody)
		}
		for n := range 1_000_000 {
			work(n)
		}
		n := 1_000_000
		for b.Loop() {
			work(n)
			n++
		}
	})
	b.Run("map", func(b *testing.B) {
		facts := make(map[streaming.MessageID]lane.Fact)
		type old struct {
			id streaming.MessageID
			at int64
		}
		var order []old
		work := func(n int) {
			x := ids[n%len(ids)]
			if _, ok := facts[x]; ok {
				b.Fatal("known")
			}
			if _, ok := facts[x]; !ok {
				order = append(order, old{x, start.UnixMilli()})
			}
			facts[x] = lane.Fact{Done: true, Origin: int64(n)}
			if len(order) > 1_000_000 {
				delete(facts, order[0].id)
				order = order[1:]
			}
		}
		for n := range 1_000_000 {
			work(n)
		}
		n := 1_000_000
		for b.Loop() {
			work(n)
			n++
		}
	})
}

// The window is its span, to the nanosecond, however often the clock is read: a
// little less would be told as a bound in size that cuts it.
func TestAWindowThatNothingCutsReachesItsSpan(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	ticking := func() time.Time { now = now.Add(time.Nanosecond); return now }
	if w := NewWindow(time.Hour, 10, ticking); w.Reach() != time.Hour {
		t.Fatalf("it reaches back %s", w.Reach())
	}
}
