package chaos

import (
	"slices"
	"testing"
)

// given makes messages of one key that the agent's handler succeeds on in the
// end, and one that it never does.
func given(t *testing.T, p Plan, agent string, n int) (good []MessageID, bad MessageID) {
	t.Helper()
	for seq := 0; len(good) < n || bad == (MessageID{}); seq++ {
		m := MessageID{Key: 7, Seq: seq}
		switch dies := p.Fate(agent, m.String()).Dies(); {
		case dies && bad == (MessageID{}):
			bad = m
		case !dies && len(good) < n:
			good = append(good, m)
		}
	}
	return good, bad
}

func records(ms ...MessageID) []Seen {
	var all []Seen
	for i, m := range ms {
		all = append(all, Seen{Partition: 3, Offset: int64(i), Message: m, ID: uint64(m.Seq)})
	}
	return all
}

func TestJudge(t *testing.T) {
	t.Parallel()
	p := Plan{Seed: 1}
	good, bad := given(t, p, "copy", 3)
	x, y, z := good[0], good[1], good[2]
	stranger := MessageID{Key: 8}
	otherID := records(x, y, z, x)
	otherID[3].ID = 99
	crashed := records(bad, z)
	crashed[1].Crash = true
	for _, c := range []struct {
		name      string
		out, dead []Seen
		weak      bool // at least once, around a frozen owner
		want      Verdict
	}{
		{name: "as it should be", out: records(x, y, z), dead: records(bad), want: Verdict{Done: 3, Dead: 1}},
		{name: "lost", out: records(x, z), dead: records(bad), want: Verdict{Done: 2, Dead: 1, Lost: 1}},
		{name: "a dead letter lost", out: records(x, y, z), want: Verdict{Done: 3, Lost: 1}},
		{name: "twice", out: records(x, y, x, z), dead: records(bad), want: Verdict{Done: 3, Dead: 1, Duplicates: 1}},
		{name: "twice, known", out: records(x, y, x, z), dead: records(bad), weak: true, want: Verdict{Done: 3, Dead: 1, Repeated: 1}},
		{name: "twice, under another ID", out: otherID, dead: records(bad), weak: true, want: Verdict{Done: 3, Dead: 1, Duplicates: 1}},
		{name: "dead twice", out: records(x, y, z), dead: records(bad, bad), want: Verdict{Done: 3, Dead: 1, Duplicates: 1}},
		{name: "overtaken", out: records(y, x, z), dead: records(bad), want: Verdict{Done: 3, Dead: 1, Disorder: 1}},
		{name: "overtaken where that may be", out: records(y, x, z), dead: records(bad), weak: true, want: Verdict{Done: 3, Dead: 1, Reordered: 1}},
		{name: "done that should have died", out: records(x, y, z, bad), dead: records(bad), want: Verdict{Done: 3, WrongEnds: 1}},
		{name: "dead that should be done", out: records(x, y), dead: records(bad, z), want: Verdict{Done: 2, Dead: 1, WrongEnds: 1}},
		{name: "dead as its processes were killed", out: records(x, y), dead: crashed, want: Verdict{Done: 2, Dead: 1, Crashed: 1}},
		{name: "that, and done", out: records(x, y, z), dead: crashed, want: Verdict{Done: 2, Dead: 1, WrongEnds: 1}},
		{name: "that, put out before its mark", out: records(x, y, z), dead: crashed, weak: true, want: Verdict{Done: 2, Dead: 1, Crashed: 1}},
		{name: "both done and dead", out: records(x, y, z), dead: records(bad, z), want: Verdict{Done: 2, Dead: 1, WrongEnds: 1}},
		{name: "out of nowhere", out: records(x, y, z, stranger), dead: records(bad), want: Verdict{Done: 3, Dead: 1, Strangers: 1}},
	} {
		in := []MessageID{x, y, z, bad}
		slices.SortFunc(in, func(a, b MessageID) int { return a.Seq - b.Seq })
		got := Stage{
			Agent: "copy", Plan: p, In: records(append(in, x)...), Out: c.out, Dead: c.dead, Once: !c.weak, Ordered: !c.weak,
		}.Judge()
		if named := len(got.Concerned); (got.Violations() > 0) != (named > 0) {
			t.Errorf("%s: %d violations, %d messages named", c.name, got.Violations(), named)
		}
		got.Concerned = nil
		c.want.Messages = 4
		if got.Violations() != c.want.Violations() || got.Lost != c.want.Lost || got.Duplicates != c.want.Duplicates ||
			got.Disorder != c.want.Disorder || got.Repeated != c.want.Repeated || got.Reordered != c.want.Reordered ||
			got.Crashed != c.want.Crashed || got.Done != c.want.Done || got.Dead != c.want.Dead || got.Messages != c.want.Messages {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestOrderIsThatOfTheInputAndNotOfTheNumbers(t *testing.T) {
	t.Parallel()
	p := Plan{Seed: 1}
	good, _ := given(t, p, "copy", 2)
	in := records(good[1], good[0]) // a batch sent again can leave them so
	s := Stage{Agent: "copy", Plan: p, In: in, Out: in, Once: true, Ordered: true}
	if v := s.Judge(); v.Violations() > 0 {
		t.Errorf("%+v", v)
	}
	s.Out = records(good[0], good[1])
	if v := s.Judge(); v.Disorder != 1 {
		t.Errorf("%+v", v)
	}
}

func TestFatesAreDrawnAsOftenAsTheySay(t *testing.T) {
	t.Parallel()
	p := Plan{Seed: 42}
	failing, dying, waiting := 0, 0, 0
	const n = 200_000
	for i := range n {
		f := p.Fate("act", MessageID{i % 100, i / 100}.String())
		if f.Fails > 0 {
			failing++
		}
		if f.Dies() {
			dying++
		}
		if f.Waits > 0 {
			waiting++
		}
	}
	near := func(what string, got, perTenThousand int) {
		if want := n / 10_000 * perTenThousand; got < want*8/10 || got > want*12/10 {
			t.Errorf("%s: %d, want about %d", what, got, want)
		}
	}
	near("failing", failing, 250)
	near("dying", dying, 10)
	near("waiting", waiting, 101)
}

func TestTwoReadersThatDifferAreTold(t *testing.T) {
	t.Parallel()
	a := records(MessageID{1, 1}, MessageID{1, 2})
	if d := Same("t", a, slices.Clone(a)); len(d) > 0 {
		t.Errorf("the same, but %v", d)
	}
	if d := Same("t", a, a[:1]); len(d) != 1 {
		t.Errorf("one has more: %v", d)
	}
	if d := Same("t", a, records(MessageID{1, 2}, MessageID{1, 1})); len(d) != 1 {
		t.Errorf("another order: %v", d)
	}
}
