package pipeline

import (
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// newMachine returns the state machine of a lane: one that holds keys has a hold
// topic, the last of its tiers, and reads its dead-letter topic after it.
func newMachine(cfg *Config) *lane.Machine {
	if cfg.Hold {
		return lane.NewHolding(len(cfg.Tiers)-1, cfg.Facts)
	}
	return lane.New(len(cfg.Tiers), cfg.Facts)
}

// logs is the number of logs that the lane reads.
func (l *Lane) logs() int {
	if l.cfg.Hold {
		return len(l.cfg.Tiers) + 2
	}
	return len(l.cfg.Tiers) + 1
}

// deadLog is the dead-letter log of a lane that holds keys.
func (l *Lane) deadLog() lane.Log { return lane.Log(len(l.cfg.Tiers) + 1) }

// letter is a dead letter as a copy that holds its key, or nil: without order
// there is nothing to hold, and what is no copy of an input record has no place in
// it.
func (l *Lane) letter(m *message, offset int64) *lane.Copy {
	if !l.cfg.Hold || m.rec.Key == nil || m.hop.Moves == 0 || m.hop.Origin.Topic != l.cfg.Topic {
		return nil
	}
	c := m.asCopy(new(lane.Copy), l.deadLog(), offset)
	c.Payload = nil
	return c
}

// buried tells that a dead letter is durable.
func (l *Lane) buried(c *lane.Copy, m *message, hop *streaming.Hop, offset int64) {
	l.ended(c)
	letter := l.letter(&message{rec: m.rec, env: m.env, hop: hop, bad: m.bad}, offset)
	if letter == nil {
		l.machine.Dead(c)
		return
	}
	letter.Key, letter.Origin = c.Key, c.Origin
	l.machine.DeadHeld(c, letter)
}

// readDead takes one record of the dead-letter topic: a dead letter, or a note
// that some of them are let go. Of a redrive's other notes nothing follows here:
// its copies come by the tiers, and go first.
func (l *Lane) readDead(rec streaming.Record) {
	if n := schemas.ParseRedriveNote(&rec); n != nil {
		l.machine.Pass(l.deadLog(), rec.Offset)
		if n.Step == schemas.RedriveDiscarded {
			l.release(n.Offsets)
		}
		return
	}
	m, _ := decodeHop(rec, l.deadLog())
	if c := l.letter(m, rec.Offset); c != nil {
		l.machine.Read(c)
		return
	}
	l.machine.Pass(l.deadLog(), rec.Offset)
}

func (l *Lane) release(offsets []int64) {
	for _, offset := range offsets {
		if c := l.machine.Release(offset); c != nil {
			l.steps.drop(c.ID)
		}
	}
}

// RecallHeld tells of a record of the dead-letter topic found before a lane that
// holds keys is opened. A dead letter that was redriven holds nothing any more:
// what holds its key is its copy, or the next dead letter.
func (l *Lane) RecallHeld(rec streaming.Record) {
	if n := schemas.ParseRedriveNote(&rec); n != nil {
		if n.Step == schemas.RedriveDiscarded || n.Step == schemas.RedriveSettled {
			for _, offset := range n.Offsets {
				l.machine.Release(offset)
			}
		}
		return
	}
	m, _ := decodeHop(rec, l.deadLog())
	if c := l.letter(m, rec.Offset); c != nil {
		l.machine.RecallCopy(c)
	}
}
