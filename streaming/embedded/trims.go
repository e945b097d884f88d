package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// trimsCompactBytes is the size from which the log of trims is written anew.
const trimsCompactBytes = 1 << 20

// trim says where a partition starts and ends at least. The broker's files
// do not: after a crash it takes both from the records it finds, so deleted
// records would come back, and an emptied partition would start again at 0.
type trim struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"id"` // a topic created again under its name is another one
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"` // offset of the next record
}

type trimKey struct {
	topicID   string
	partition int32
}

func (t trim) key() trimKey { return trimKey{t.TopicID, t.Partition} }

// trims is a log of JSON lines; the last line of a partition counts. A line
// is one write, so a killed process leaves it whole or as a torn last line,
// which was never acknowledged.
type trims struct {
	path string
	sync bool

	mu     sync.Mutex
	latest map[trimKey]trim
	file   *os.File
	size   int
	torn   bool // a write failed: what is at the end of the file is unknown
}

// openTrims loads the log, forgets topics that are gone, and writes it anew.
func openTrims(path string, topics []topic, syncWrites bool) (*trims, error) {
	t := &trims{path: path, sync: syncWrites, latest: make(map[trimKey]trim)}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("embedded: read trims: %w", err)
	}
	alive := make(map[string]bool, len(topics))
	for _, tp := range topics {
		alive[tp.ID] = true
	}
	for line := range bytes.Lines(data) {
		var e trim
		if json.Unmarshal(line, &e) == nil && alive[e.TopicID] {
			t.latest[e.key()] = e
		}
	}
	if err := t.rewrite(); err != nil {
		return nil, err
	}
	return t, nil
}

// note makes the trims durable before it returns.
func (t *trims) note(notes []trim) error {
	if len(notes) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.torn || t.size > trimsCompactBytes {
		if err := t.rewrite(); err != nil {
			return err
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, n := range notes {
		if err := enc.Encode(n); err != nil {
			return err
		}
	}
	_, err := t.file.Write(buf.Bytes())
	if err == nil && t.sync {
		err = t.file.Sync()
	}
	if err != nil {
		t.torn = true
		return fmt.Errorf("embedded: write trims: %w", err)
	}
	t.size += buf.Len()
	for _, n := range notes {
		t.latest[n.key()] = n
	}
	return nil
}

func (t *trims) rewrite() error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, n := range t.latest {
		if err := enc.Encode(n); err != nil {
			return err
		}
	}
	if err := writeFileAtomic(t.path, buf.Bytes()); err != nil {
		return err
	}
	if t.file != nil {
		_ = t.file.Close() // of the file that was just replaced
	}
	f, err := os.OpenFile(t.path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.torn = true
		return fmt.Errorf("embedded: open trims: %w", err)
	}
	t.file, t.size, t.torn = f, buf.Len(), false
	return nil
}

func (t *trims) get(topicID string, partition int32) trim {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latest[trimKey{topicID, partition}]
}

func (t *trims) all() []trim {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]trim, 0, len(t.latest))
	for _, e := range t.latest {
		all = append(all, e)
	}
	return all
}

func (t *trims) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.file.Close()
}
