package schemas

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/uuid"
)

// NewID returns the ID of a root message: a UUIDv7 (RFC 9562), ordered by time
// within the process.
func NewID() string {
	return uuid.Must(uuid.NewV7()).String()
}

// DerivedID returns the ID of the message that a handler of group staged at
// position while it handled the message (source, id): a UUIDv8 (RFC 9562) from
// the SHA-256 of the length-prefixed fields. The same arguments give the same
// ID on each run, so the next ledger recognises what a repeated run sends.
func DerivedID(source, id, group string, position int) string {
	buf := make([]byte, 0, 192)
	for _, s := range [...]string{source, id, group} {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	buf = binary.BigEndian.AppendUint64(buf, uint64(position))
	sum := sha256.Sum256(buf)
	u := uuid.UUID(sum[:16])
	u[6] = u[6]&0x0f | 0x80 // version 8
	u[8] = u[8]&0x3f | 0x80 // the variant of RFC 9562
	return u.String()
}
