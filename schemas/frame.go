package schemas

import (
	"encoding/binary"
	"fmt"
)

// frameSize is the bytes of a frame before its payload: a zero and the schema
// ID, big endian.
const frameSize = 5

// AppendFrame appends a value in Confluent's wire format to dst: byte 0, the
// schema ID in 4 bytes, big endian, and the payload.
func AppendFrame(dst []byte, schemaID int, payload []byte) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(schemaID))
	return append(dst, payload...)
}

// ParseFrame splits a value in Confluent's wire format. The payload shares
// memory with value. The error is a *DecodeError.
func ParseFrame(value []byte) (schemaID int, payload []byte, err error) {
	if len(value) < frameSize {
		return 0, nil, &DecodeError{Problem: fmt.Sprintf("a value of %d bytes is too short to hold a schema ID", len(value))}
	}
	if value[0] != 0 {
		return 0, nil, &DecodeError{Problem: fmt.Sprintf("the value is not framed: its first byte is %d instead of 0", value[0])}
	}
	return int(binary.BigEndian.Uint32(value[1:])), value[frameSize:], nil
}
