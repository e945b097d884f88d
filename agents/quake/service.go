package quake

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strings"
	"sync"
)

// ErrService is what the outside service answers when it fails.
var ErrService = errors.New("the outside service does not answer")

// Never is the number of failures of an alert that the outside service never
// takes.
const Never = -1

// Failures is the seeded rule: how often the outside service fails for the
// alert of that event before it takes it. Of 100 alerts about 15 fail once, 10
// twice and 5 always.
func Failures(seed uint64, event string) int {
	switch n := percent(seed, event); {
	case n < 5:
		return Never
	case n < 15:
		return 2
	case n < 30:
		return 1
	}
	return 0
}

// percent is a number of 0 to 99 that only seed and id decide.
func percent(seed uint64, id string) uint64 {
	h := fnv.New64a()
	var s [8]byte
	binary.BigEndian.PutUint64(s[:], seed)
	_, _ = h.Write(s[:])
	_, _ = io.WriteString(h, id)
	// The last bytes of a short input hardly reach the upper bits otherwise.
	return h.Sum64() * 0x9e3779b97f4a7c15 >> 32 % 100
}

// Service stands for a flaky service outside of the platform. It keeps what it
// took by message ID: it may be called again for a message, its effect is one.
// With a file its effects survive the process being killed.
type Service struct {
	seed uint64

	mu    sync.Mutex
	taken map[string]bool
	file  *os.File // nil: in memory only
}

// NewService returns the service that keeps what it took in a file, one line
// each, or in memory where path is empty. Close it in the end.
func NewService(path string, seed uint64) (*Service, error) {
	s := &Service{seed: seed, taken: make(map[string]bool)}
	if path == "" {
		return s, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("outside service: %w", err)
	}
	s.file = file
	if err := s.recall(); err != nil {
		return nil, errors.Join(fmt.Errorf("outside service: %w", err), file.Close())
	}
	return s, nil
}

// recall reads what was taken before. A last line that is not whole was never
// answered for: it is cut off.
func (s *Service) recall() error {
	text, err := io.ReadAll(s.file)
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	for lines := bufio.NewScanner(bytes.NewReader(text[:whole])); lines.Scan(); {
		id, _, _ := strings.Cut(lines.Text(), "\t")
		s.taken[id] = true
	}
	if err := s.file.Truncate(int64(whole)); err != nil {
		return err
	}
	_, err = s.file.Seek(int64(whole), io.SeekStart)
	return err
}

// Take takes an alert, or fails by the rule. attempt is 1 on the first.
func (s *Service) Take(id string, attempt int, alert *Alert) error {
	if n := Failures(s.seed, alert.Eventid); n == Never || attempt <= n {
		return fmt.Errorf("%w (attempt %d)", ErrService, attempt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[id] {
		return nil
	}
	if s.file != nil {
		line := strings.Join([]string{id, alert.Eventid, alert.Level}, "\t")
		if _, err := io.WriteString(s.file, line+"\n"); err != nil {
			return fmt.Errorf("outside service: %w", err)
		}
	}
	s.taken[id] = true
	return nil
}

// Durable says whether what was taken survives the process.
func (s *Service) Durable() bool { return s.file != nil }

// Taken is the number of alerts that had their effect.
func (s *Service) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken)
}

// Close closes the file.
func (s *Service) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
