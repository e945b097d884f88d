package schemas

import (
	"bytes"
	"testing"
)

func TestFrame(t *testing.T) {
	t.Parallel()
	for _, id := range []int{0, 1, 255, 256, 1<<31 - 1, 1<<32 - 1} {
		value := AppendFrame([]byte("before"), id, []byte{7, 8})[len("before"):]
		if len(value) != 7 || value[0] != 0 {
			t.Fatalf("frame of ID %d is %v", id, value)
		}
		got, payload, err := ParseFrame(value)
		if err != nil || got != id || !bytes.Equal(payload, []byte{7, 8}) {
			t.Errorf("ID %d comes back as %d, %v, %v", id, got, payload, err)
		}
	}
	if got := AppendFrame(nil, 0x01020304, nil); !bytes.Equal(got, []byte{0, 1, 2, 3, 4}) {
		t.Errorf("the ID is not big endian: %v", got)
	}
}

func TestParseFrameRefuses(t *testing.T) {
	t.Parallel()
	for _, value := range [][]byte{nil, {}, {0}, {0, 0, 0, 1}, {1, 0, 0, 0, 1, 2}, []byte(`{"a":1}`)} {
		_, _, err := ParseFrame(value)
		wantReason(t, err, "decode")
	}
}
