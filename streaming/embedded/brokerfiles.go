package embedded

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is all that knows kfake's file formats. kfake is pinned; the
// tests of crashes and restarts fail when a newer one differs.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type topic struct {
	Name string `json:"name"`
	ID   string `json:"id"` // as topicID
}

func topicID(id [16]byte) string { return base64.StdEncoding.EncodeToString(id[:]) }

// readTopics returns the topics that the broker has on disk.
func readTopics(brokerDir string) ([]topic, error) {
	data, err := os.ReadFile(filepath.Join(brokerDir, "topics.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var file struct {
		Topics []topic `json:"topics"`
	}
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded: read topics: %w", err)
	}
	return file.Topics, nil
}

// repairLogs cuts torn entries off the broker's append logs. The broker skips
// a torn end when it reads, but goes on appending behind it, and would at the
// start after next lose all that follows.
func repairLogs(brokerDir string, logger *slog.Logger) error {
	for _, name := range []string{"groups.log", "pids.log"} {
		path := filepath.Join(brokerDir, name)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("embedded: repair: %w", err)
		}
		if valid := validPrefix(data); valid < len(data) {
			logger.Warn("cut a torn entry off a log after a crash", "file", name, "bytes", len(data)-valid)
			if err := os.Truncate(path, int64(valid)); err != nil {
				return fmt.Errorf("embedded: repair: %w", err)
			}
		}
	}
	return nil
}

// validPrefix returns how many bytes of an append log are whole entries:
// length (4 bytes, little endian, of what follows the checksum), CRC-32C (4),
// body.
func validPrefix(data []byte) int {
	pos := 0
	for pos+8 <= len(data) {
		length := int64(binary.LittleEndian.Uint32(data[pos:]))
		if length < 2 || int64(pos)+8+length > int64(len(data)) {
			break
		}
		body := data[pos+8 : pos+8+int(length)]
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[pos+4:]) {
			break
		}
		pos += 8 + int(length)
	}
	return pos
}

// restoredEnd is a trim to apply again once the broker has loaded.
type restoredEnd struct {
	trim
	placeholder bool
}

func (r restoredEnd) to() int64 {
	if r.placeholder {
		return r.End
	}
	return r.Start
}

// restoreEnds writes, for each partition that has no record left, one record
// at the offset before its end: the broker then goes on from that end. The
// record is deleted again before any client is let in.
func restoreEnds(brokerDir string, trims []trim) ([]restoredEnd, error) {
	var out []restoredEnd
	for _, t := range trims {
		r := restoredEnd{trim: t}
		dir := filepath.Join(brokerDir, "partitions", fmt.Sprintf("%s-%d", url.PathEscape(t.Topic), t.Partition))
		empty, err := emptyPartition(dir)
		if err == nil && empty && t.End > 0 {
			r.placeholder = true
			err = writePlaceholder(dir, t.End-1)
		}
		if err != nil {
			return nil, fmt.Errorf("embedded: restore end of %s/%d: %w", t.Topic, t.Partition, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// emptyPartition reports whether no segment file has a whole first batch: a
// process killed between creating a segment and writing to it leaves a file
// that the broker takes for nothing.
func emptyPartition(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".dat") {
			continue
		}
		has, err := startsWithBatch(filepath.Join(dir, e.Name()))
		if err != nil || has {
			return false, err
		}
	}
	return true, nil
}

// startsWithBatch checks the first record batch of a segment: base offset (8
// bytes), length (4, of what follows), epoch (4), magic (1), CRC-32C (4, of
// what follows).
func startsWithBatch(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, 12)
	if _, err := io.ReadFull(f, head); err != nil {
		return false, ignoreShort(err)
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	length := int64(binary.BigEndian.Uint32(head[8:]))
	if length < 9 || 12+length > info.Size() {
		return false, nil
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(f, body); err != nil {
		return false, ignoreShort(err)
	}
	return binary.BigEndian.Uint32(body[5:]) == crc32.Checksum(body[9:], castagnoli), nil
}

func ignoreShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func writePlaceholder(dir string, offset int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Files of segments that the broker takes for nothing: one of them may
	// have the name that the broker gives its next segment.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".dat" || ext == ".idx" {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return writeFileAtomic(filepath.Join(dir, fmt.Sprintf("%d.dat", offset)), emptyBatch(offset))
}

// emptyBatch is a record batch (Kafka message format v2) of one record
// without key and value.
func emptyBatch(offset int64) []byte {
	rec := kmsg.NewRecord()
	rec.Length = int32(len(rec.AppendTo(nil))) - 1 // one byte of varint for the length itself
	b := kmsg.NewRecordBatch()
	b.FirstOffset = offset
	b.Magic = 2
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.NumRecords = 1
	b.Records = rec.AppendTo(nil)
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}
