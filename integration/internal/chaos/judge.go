package chaos

import (
	"fmt"
	"slices"
)

// Stage is one agent of a chain as the topics show it.
type Stage struct {
	Agent string
	Plan  Plan
	In    []Seen // what it was given, each partition in order
	Out   []Seen // what it has put out
	Dead  []Seen // its dead letters
	// Once: each output and each dead letter is there once. Else it may be
	// there again, under its ID.
	Once bool
	// Ordered: outputs of a key are in the order in which it was given them. Of
	// repetitions the first counts.
	Ordered bool
}

// Verdict is what became of a stage's messages.
type Verdict struct {
	Messages   int // different ones that it was given
	Done, Dead int
	Crashed    int // dead as well, because processes were killed in its handler
	Lost       int // of neither end
	Duplicates int // outputs or dead letters too many, or under a second ID
	Disorder   int // outputs that come after a younger one of their key
	WrongEnds  int // done and meant to die, dead and meant to be done
	Strangers  int // outputs and dead letters of what it was not given

	Repeated  int // again under the same ID where that is promised only
	Reordered int // out of order where order is not promised

	// Concerned are messages that are not as they should be, a few of each kind.
	Concerned []Concern
}

// Concern is one message that is not as it should be.
type Concern struct {
	Message MessageID
	What    string
}

// Violations are all that should not be.
func (v *Verdict) Violations() int {
	return v.Lost + v.Duplicates + v.Disorder + v.WrongEnds + v.Strangers
}

const concernsOfAKind = 5

func (v *Verdict) note(counter *int, m MessageID, what string) {
	*counter++
	if *counter <= concernsOfAKind {
		v.Concerned = append(v.Concerned, Concern{m, what})
	}
}

// end is what is known of one message.
type end struct {
	rank      int // its place among the messages of its key, from 1
	out, dead copies
	crash     bool
}

// copies are the records of one message in a topic.
type copies struct {
	n  int
	id uint64
}

// add takes one more; other: it has another ID than the first.
func (c *copies) add(id uint64) (again, other bool) {
	c.n++
	if c.n == 1 {
		c.id = id
		return false, false
	}
	return true, id != c.id
}

// Judge says what became of each message.
func (s Stage) Judge() Verdict {
	var v Verdict
	ends := make(map[MessageID]*end, len(s.In))
	ranks := make(map[int]int)
	for _, r := range inOrder(s.In) {
		if ends[r.Message] == nil {
			ranks[r.Message.Key]++
			ends[r.Message] = &end{rank: ranks[r.Message.Key]}
		}
	}
	v.Messages = len(ends)

	reached := make(map[int]int) // by key: the highest rank put out
	for _, r := range inOrder(s.Out) {
		e := ends[r.Message]
		if e == nil {
			v.note(&v.Strangers, r.Message, "put out, but never given")
			continue
		}
		again, other := e.out.add(r.ID)
		v.repeated(again, other, s.Once, r, "put out")
		switch {
		case again:
		case e.rank > reached[r.Message.Key]:
			reached[r.Message.Key] = e.rank
		case s.Ordered:
			v.note(&v.Disorder, r.Message, fmt.Sprintf("number %d of its key is put out after number %d", e.rank, reached[r.Message.Key]))
		default:
			v.Reordered++
		}
	}
	for _, r := range inOrder(s.Dead) {
		e := ends[r.Message]
		if e == nil {
			v.note(&v.Strangers, r.Message, "dead, but never given")
			continue
		}
		e.crash = e.crash || r.Crash
		again, other := e.dead.add(r.ID)
		v.repeated(again, other, s.Once, r, "dead")
	}
	for m, e := range ends {
		dies := s.Plan.Fate(s.Agent, m.String()).Dies()
		switch {
		case e.out.n == 0 && e.dead.n == 0:
			v.note(&v.Lost, m, "lost")
		case e.crash && (e.out.n == 0 || !s.Once): // at least once, outputs come before their mark, and the process may be killed between
			v.Crashed++
		case dies && e.out.n > 0:
			v.note(&v.WrongEnds, m, "put out, but its handler never succeeds")
		case !dies && e.dead.n > 0:
			v.note(&v.WrongEnds, m, "dead, but its handler succeeds within its attempts")
		case dies:
			v.Dead++
		default:
			v.Done++
		}
	}
	return v
}

func (v *Verdict) repeated(again, other, once bool, r Seen, what string) {
	switch {
	case other:
		v.note(&v.Duplicates, r.Message, what+" again under another ID")
	case again && once:
		v.note(&v.Duplicates, r.Message, what+" again")
	case again:
		v.Repeated++
	}
}

// inOrder sorts by place; a reader mixes partitions, but not the records of one.
func inOrder(all []Seen) []Seen {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b Seen) int { return int(a.Partition) - int(b.Partition) })
	return sorted
}
