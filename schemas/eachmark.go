package schemas

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// EachMark calls each for the marks of one ledger record, in the order of
// DecodeMarks, or returns an error before any call. A mark is valid during its
// call only. It allocates nothing for a mark of a message: a new owner reads a
// million of them before it handles anything.
func EachMark(ctx context.Context, codec *Codec, value []byte, each func(*streaming.Mark)) error {
	id, payload, err := ParseFrame(value)
	if err != nil {
		return err
	}
	writer, err := codec.schemas.Schema(ctx, id)
	if err != nil {
		return err
	}
	// Another writer's schema, steps, and whatever is not as expected are for the
	// decoder of all values.
	p := codec.plan(planKey{writer: writer, reader: LedgerEntry{}.Schema()})
	if p.err == nil && p.resolution == nil && len(payload) <= codec.limits.MaxBytes {
		if plainMarks(payload, func(*streaming.Mark) {}) {
			plainMarks(payload, each)
			return nil
		}
	}
	marks, err := DecodeMarks(ctx, codec, value)
	for i := range marks {
		each(&marks[i])
	}
	return err
}

// plainMarks reads an entry that holds nothing but marks of messages and
// claims, and reports whether it is one.
func plainMarks(payload []byte, each func(*streaming.Mark)) bool {
	r := markReader{left: payload}
	var m streaming.Mark
	for n := r.block(); n > 0 && !r.bad; n = r.block() {
		for range n {
			r.mark(&m)
			if r.bad {
				return false
			}
			each(&m)
		}
	}
	return !r.bad && bytes.Equal(r.left, noMore)
}

// noMore is the entry's other fields where they hold nothing.
var noMore = make([]byte, len(LedgerEntry{}.Schema().(*avro.RecordSchema).Fields())-1)

// markReader reads Avro binary. After anything unexpected it is bad, and what it
// returns has no meaning.
type markReader struct {
	left []byte
	bad  bool
}

// minMark is the fewest bytes that a mark takes: no block can hold more marks
// than its bytes say.
const minMark = 16 + 9

// block is the number of items in an array's next block.
func (r *markReader) block() int {
	n := r.long()
	if n < 0 || n > int64(len(r.left)/minMark) { // a block with its size, which we do not write
		r.bad = true
	}
	return int(n)
}

func (r *markReader) mark(m *streaming.Mark) {
	kind := r.long() + 1
	if kind < int64(streaming.MarkDone) || kind > int64(streaming.MarkClaim) || len(r.left) < len(m.ID) {
		r.bad = true
		return
	}
	m.Kind = streaming.MarkKind(kind)
	m.ID = streaming.MessageID(r.left[:len(m.ID)])
	r.left = r.left[len(m.ID):]
	m.Moves = r.count()
	m.Attempts = r.count()
	r.text(&m.Log)
	m.Offset = r.long()
	m.Origin = r.long()
	m.Epoch = r.long()
	m.Time = time.UnixMilli(r.long()).UTC()
	if r.long() != 0 { // a checkpoint
		r.bad = true
	}
}

func (r *markReader) long() int64 {
	if len(r.left) > 0 && r.left[0] < 0x80 { // most are
		b := r.left[0]
		r.left = r.left[1:]
		return int64(b>>1) ^ -int64(b&1)
	}
	return r.longer()
}

func (r *markReader) longer() int64 {
	v, n := binary.Varint(r.left) // Avro's zigzag is that of Go
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.left = r.left[n:]
	return v
}

func (r *markReader) count() int {
	v := r.long()
	if v < 0 || v > math.MaxInt32 {
		r.bad = true
	}
	return int(v)
}

// text leaves s as it is where it says the same: the logs of a lane are few, and
// their names come again and again.
func (r *markReader) text(s *string) {
	n := r.long()
	if n < 0 || n > int64(len(r.left)) {
		r.bad = true
		return
	}
	if b := r.left[:n]; *s != string(b) {
		if !utf8.Valid(b) {
			r.bad = true
			return
		}
		*s = string(b)
	}
	r.left = r.left[n:]
}
