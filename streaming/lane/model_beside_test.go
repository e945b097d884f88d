package lane_test

import "github.com/seed-c9b6dc07/parley/streaming/lane"

// What happens beside the owner of the model: redrives, discards, and carrying
// forward.

// redrive appends the next copy of a dead letter beside the owner: now and then
// twice, as a run does that was killed before it could record the first.
func (w *world) redrive(i int) {
	d := w.dead[i]
	if d.discarded {
		return
	}
	w.redrives--
	w.fails[d.id] = w.rnd.IntN(attempts + 1)
	w.revived[d.origin] = true
	for range 1 + w.rnd.IntN(2) {
		w.say("redrive %x/%d to tier 1 at %d", d.id[:2], d.moves+1, len(w.tiers[0]))
		w.tiers[0] = append(w.tiers[0], record{message: d.message, origin: d.origin, moves: d.moves + 1})
	}
	w.dead[i].redriven = true
	w.dead[i].noted = w.rnd.IntN(4) > 0 // else it was killed before it could
}

// carry moves what waits in a tier to its end.
func (w *world) carry() {
	log := lane.Log(1 + w.rnd.IntN(len(w.tiers)))
	for _, c := range w.o.m.Carry(log, int64(w.rnd.IntN(20)), w.rnd.IntN(3)) {
		if w.carries++; w.carries > 20 || w.rnd.IntN(4) == 0 {
			w.o.m.GiveBack(c) // its value cannot be read
			continue
		}
		w.say("carry %s/%d of tier %d", name(c), c.Moves, log)
		w.move(c, log, c.Attempts, c.Due)
	}
}

// letGo discards a dead letter beside the owner, who reads the note, now or never.
func (w *world) letGo() {
	if !w.hold || len(w.dead) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.dead))
	if d := w.dead[i]; d.redriven || d.discarded || w.discards == 0 {
		return
	}
	w.discards--
	w.say("discard %x", w.dead[i].id[:2])
	w.dead[i].noted, w.dead[i].discarded = true, true
	o := w.o
	var note func()
	note = func() { // is read after the dead letter, as it stands behind it
		if o.read[deadAt] <= int64(i) {
			o.acks = append(o.acks, note)
			return
		}
		o.m.Release(int64(i))
	}
	o.acks = append(o.acks, note)
}
