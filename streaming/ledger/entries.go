package ledger

import "github.com/seed-c9b6dc07/parley/streaming"

// entry is what is remembered of one message: 48 bytes without a pointer.
type entry struct {
	id     streaming.MessageID
	at     int64 // Unix milliseconds
	origin int64
	answer int64  // ledger offset of the copy of its answer, plus one; 0 is none
	state  uint32 // moves, and the flags below
}

const (
	done   = 1 << 31
	stale  = 1 << 30 // a younger entry of the same message has replaced it
	counts = stale - 1
)

const chunkEntries = 1 << 12

// entries is a queue in the order of writing. It lives in chunks, so that growing
// copies nothing, and its entries are numbered: from first up to, not including,
// next, modulo 2^32.
type entries struct {
	chunks      []*[chunkEntries]entry
	spare       *[chunkEntries]entry
	first, next uint32
}

func (q *entries) len() int { return int(q.next - q.first) }

func (q *entries) at(number uint32) *entry {
	base := q.first &^ (chunkEntries - 1) // of the first chunk
	return &q.chunks[(number-base)/chunkEntries][number%chunkEntries]
}

// push appends an entry and returns its number.
func (q *entries) push(e entry) uint32 {
	if len(q.chunks) == 0 || q.next%chunkEntries == 0 {
		chunk := q.spare
		if q.spare = nil; chunk == nil {
			chunk = new([chunkEntries]entry)
		}
		q.chunks = append(q.chunks, chunk)
	}
	number := q.next
	q.next++
	*q.at(number) = e
	return number
}

// pop drops the oldest entry.
func (q *entries) pop() {
	if q.first++; q.first%chunkEntries == 0 {
		q.spare = q.chunks[0]
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
	}
}
