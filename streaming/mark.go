package streaming

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// MessageID is the idempotency key: the first 16 bytes of SHA-256 over the
// length-prefixed source and ID.
type MessageID [16]byte

// HashID returns the idempotency key of (ce_source, ce_id).
func HashID(source, id string) MessageID {
	buf := make([]byte, 0, 128)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(source)))
	buf = append(buf, source...)
	buf = append(buf, id...)
	sum := sha256.Sum256(buf)
	return MessageID(sum[:16])
}

// HashOrigin is the key of a record that has no readable identity: its place
// in its input topic stands for it.
func HashOrigin(topic string, partition int32, offset int64) MessageID {
	return HashID("\x00"+topic, fmt.Sprintf("%d/%d", partition, offset))
}

// MarkKind is what a mark in the ledger says.
type MarkKind uint8

// The kinds of marks.
const (
	MarkDone       MarkKind = iota + 1 // ends every copy of its message
	MarkDead                           // ends the copies with moves up to Mark.Moves
	MarkClaim                          // a new owner of the lane reads the ledger up to its claim
	MarkCheckpoint                     // Mark.Checkpoint says how far the logs had come
	MarkStep                           // Mark.Result is the result of the message's step of that name
	MarkBegun                          // the copy of that many moves is about to be handled, in doubt of its handler
	MarkRelease                        // the owner of that epoch has stopped cleanly
	MarkAnswer                         // Mark.Answer is what was sent in reply to the request
)

// Mark is one entry of a ledger partition. Log names the log that holds the
// copy which the mark ends: empty for the input topic, else the retry topic.
type Mark struct {
	Kind       MarkKind
	ID         MessageID
	Moves      int
	Attempts   int
	Log        string
	Offset     int64
	Origin     int64
	Epoch      int64 // offset of the owner's claim: who wrote the mark, for people; no rule reads it
	Time       time.Time
	Checkpoint *Checkpoint
	Step       string // MarkStep only, as is Result; log, offset, moves and attempts have no meaning there
	Result     []byte
	Answer     []*Record // MarkAnswer only, with ID alone
}

// Checkpoint is a copy of a lane's offsets, kept in its ledger because a
// group's committed offsets expire (KIP-211) while a ledger does not.
type Checkpoint struct {
	Ends      map[string]int64 // per log (topic): the next offset to be read, or written for the dead-letter topic
	Committed map[string]int64 // per log (topic): the group's committed offset
}
