package ledger

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// index finds an entry by its message: open addressing with linear probing over
// one flat array. A slot holds 32 bits of the hash and the entry's number, so
// that growing, deleting and nearly every miss touch no entry. Zero is empty.
type index struct {
	slots []uint64 // a power of two
	used  int
	seed  [2]uint64
}

const firstSlots = 1 << 6

func newIndex() index {
	return index{slots: make([]uint64, firstSlots), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// hash is keyed: who chooses message IDs must not be able to choose slots. Its
// highest bit is set, so that no slot in use is zero.
func (x *index) hash(id *streaming.MessageID) uint32 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^x.seed[0], binary.LittleEndian.Uint64(id[8:])^x.seed[1])
	return uint32(hi^lo) | 1<<31
}

func slot(hash, number uint32) uint64 { return uint64(hash)<<32 | uint64(number) }

// find returns the slot of the entry that is(number) accepts among those with
// that hash.
func (x *index) find(hash uint32, is func(number uint32) bool) (at uint32, ok bool) {
	mask := uint32(len(x.slots) - 1)
	for at = hash & mask; x.slots[at] != 0; at = (at + 1) & mask {
		if s := x.slots[at]; uint32(s>>32) == hash && is(uint32(s)) {
			return at, true
		}
	}
	return 0, false
}

// add puts an entry that is not in the index.
func (x *index) add(hash, number uint32) {
	if x.used >= len(x.slots)/4*3 {
		x.grow()
	}
	x.put(slot(hash, number))
	x.used++
}

func (x *index) put(s uint64) {
	mask := uint32(len(x.slots) - 1)
	at := uint32(s>>32) & mask
	for x.slots[at] != 0 {
		at = (at + 1) & mask
	}
	x.slots[at] = s
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]uint64, 2*len(old))
	for _, s := range old {
		if s != 0 {
			x.put(s)
		}
	}
}

// remove empties a slot and moves those back that were pushed past it, so that
// no probe ends early and nothing is left to sweep.
func (x *index) remove(at uint32) {
	mask := uint32(len(x.slots) - 1)
	for next := (at + 1) & mask; x.slots[next] != 0; next = (next + 1) & mask {
		home := uint32(x.slots[next]>>32) & mask
		if (next-home)&mask >= (next-at)&mask {
			x.slots[at] = x.slots[next]
			at = next
		}
	}
	x.slots[at] = 0
	x.used--
}
