// Package rolling has one agent in two versions that share a group in a rolling
// deploy. Version 2 of its messages has fields more and fields less, a name and
// enum symbols of its own; each version reads what the other writes.
//
// What a task has in it, and what it meets, follows from its ID, so that a judge
// knows what must come of it.
package rolling

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/seed-c9b6dc07/parley/integration/internal/chaos"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v1"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v2"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// Version of the agents and their messages: 1 or 2.
type Version int

// Other is the other one.
func (v Version) Other() Version { return 3 - v }

// WrittenBy is the version of a task's sender.
func WrittenBy(id chaos.MessageID) Version { return Version(1 + id.Key%2) }

func hash(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return h.Sum64()
}

// Fate is what a task meets.
type Fate struct {
	Stumbles bool    // the first attempt fails
	Only     Version // the only one whose handler succeeds; 0: either
	Request  bool    // the sender wants an answer
	Slow     bool    // each attempt takes a while
}

// FateOf draws from a task's ID. Of a thousand tasks 100 stumble, 20 succeed in
// one version only, 50 are requests, 20 are slow.
func FateOf(id string) Fate {
	sum := hash(id)
	var f Fate
	switch n := sum >> 8 % 1000; {
	case n < 100:
		f.Stumbles = true
	case n < 110:
		f.Only = 1
	case n < 120:
		f.Only = 2
	}
	f.Request = sum>>20%1000 < 50
	f.Slow = sum>>32%1000 < 20
	return f
}

func amount(id string) int64 { return int64(hash(id) >> 40) }

func level(id string, written Version) string {
	levels := []string{"LOW", "HIGH", "URGENT"}[:1+written]
	return levels[hash(id)>>5%uint64(len(levels))]
}

// Task is a task as a sender writes it.
func Task(m chaos.MessageID) schemas.Message {
	id := m.String()
	if WrittenBy(m) == 1 {
		return &v1.Task{Sum: amount(id), Level: level(id, 1), Legacy: "old", Parts: []v1.Part{{Name: id}}, ID: id}
	}
	count := int32(m.Seq)
	return &v2.Task{Amount: amount(id), Level: level(id, 2), Channel: "app", Parts: []v2.Part{{Name: id, Count: &count}}, ID: id}
}

// WantRead is what a worker must read in a task: what Avro's resolution demands.
func WantRead(m chaos.MessageID, reader Version) string {
	id := m.String()
	written := WrittenBy(m)
	l := level(id, written)
	switch {
	case reader == 1 && written == 1:
		return fmt.Sprintf("sum=%d level=%s legacy=old parts=%s", amount(id), l, id)
	case reader == 1: // the name of version 2 is unknown, and so are some of its symbols
		return fmt.Sprintf("sum=-1 level=%s legacy=none parts=%s", strings.Replace(l, "URGENT", "LOW", 1), id)
	case written == 1: // found by its former name
		return fmt.Sprintf("amount=%d level=%s channel=web parts=%s:-", amount(id), l, id)
	default:
		return fmt.Sprintf("amount=%d level=%s channel=app parts=%s:%d", amount(id), l, id, m.Seq)
	}
}

func read1(t *v1.Task) string {
	text := fmt.Sprintf("sum=%d level=%s legacy=%s parts=", t.Sum, t.Level, t.Legacy)
	for _, p := range t.Parts {
		text += p.Name
	}
	return text
}

func read2(t *v2.Task) string {
	text := fmt.Sprintf("amount=%d level=%s channel=%s parts=", t.Amount, t.Level, t.Channel)
	for _, p := range t.Parts {
		text += p.Name + ":"
		if p.Count == nil {
			text += "-"
		} else {
			text += fmt.Sprint(*p.Count)
		}
	}
	return text
}

// Act is what the next agent reads of a task that is done.
type Act struct {
	Read  string // by the worker
	Step  string
	Maker string // the worker's version, "?" where the reader cannot know
	State string
	Tries string // attempts, "-" where the reader cannot know
}

// done1 and done2 are a worker's output, by its version.
func done1(id, read, step string, attempt int) *v1.Done {
	state := "FIRST"
	if attempt > 1 {
		state = "LATER"
	}
	return &v1.Done{By: "1", State: state, Read: fmt.Sprintf("1 %d %s", attempt, read), Step: step, ID: id}
}

func done2(id, read, step string, attempt int) *v2.Done {
	tries := int32(attempt)
	return &v2.Done{
		Worker: "2", State: []string{"FIRST", "LATER", "LAST"}[min(attempt, 3)-1], Read: fmt.Sprintf("2 %d %s", attempt, read), Step: step,
		Attempts: &tries, ID: id,
	}
}

// Want is what a reader of a version must read of what a worker has made of a
// task: read and step are the worker's.
func Want(m chaos.MessageID, reader, maker Version, attempt int, step string) Act {
	a := Act{
		Read: fmt.Sprintf("%d %d %s", maker, attempt, WantRead(m, maker)), Step: step,
		Maker: fmt.Sprint(int(maker)), State: "FIRST", Tries: "-",
	}
	if attempt > 1 {
		a.State = "LATER"
	}
	if maker == 2 && attempt > 2 {
		a.State = "LAST"
		if reader == 1 {
			a.State = "FIRST" // the enum's default
		}
	}
	if reader == 1 && maker == 2 {
		a.Maker = "?" // the field's default
	}
	if reader == 2 && maker == 2 {
		a.Tries = fmt.Sprint(attempt)
	}
	return a
}

// Act1 and Act2 are an output as a reader of a version has it.
func Act1(d *v1.Done) Act {
	return Act{Read: d.Read, Step: d.Step, Maker: d.By, State: d.State, Tries: "-"}
}

// Act2 is Act1 of version 2.
func Act2(d *v2.Done) Act {
	a := Act{Read: d.Read, Step: d.Step, Maker: d.Worker, State: d.State, Tries: "-"}
	if d.Attempts != nil {
		a.Tries = fmt.Sprint(*d.Attempts)
	}
	return a
}
