package streamtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// run is one run of a handler.
type run struct {
	seq      int
	agent    int
	process  string
	id       msgID
	key      string
	attempt  int
	start    time.Time
	end      time.Time
	started  time.Time // by the clock of its process, which may jump
	ended    time.Time
	err      error
	finished bool           // it returned while its process was alive
	delay    time.Duration  // the policy's, after a failure
	dead     bool           // the policy has no other attempt
	inMemory bool           // it waits in memory: a crash forgets the attempt
	again    bool           // the attempt does not count: it was cut short, or something was unavailable
	outputs  int            // messages staged
	parts    []int64        // of a streamed answer, by sequence
	forwards []int          // of those: the handled message itself, sent on
	unowed   map[int]string // of those: answers that are left out where that topic does not exist
	due      time.Time      // ce_deliverat
	expiry   time.Time
}

// msgID is (ce_source, ce_id).
type msgID struct{ source, id string }

func (m msgID) String() string { return m.source + "/" + m.id }

// history is what is recorded beside the topics.
type history struct {
	begin time.Time

	mu     sync.Mutex
	runs   []*run
	marked map[msgHash]time.Time // by ledger place and message: when its mark was known to be written
	dones  map[msgHash]time.Time // of those, the marks that say done
	begun  map[[16]byte]bool     // messages that were handled in doubt: they were started when the mark was sent
	steps  map[stepID]*result
	trace  []string
	pauses []paused
	letGo  time.Time      // when dead letters were discarded
	said   []string       // violations that handlers have seen
	hits   map[string]int // crash points and faults
}

type msgHash struct {
	topic string
	id    [16]byte
}

func newHistory() *history {
	return &history{
		begin: time.Now(), marked: make(map[msgHash]time.Time), dones: make(map[msgHash]time.Time),
		begun: make(map[[16]byte]bool),
		steps: make(map[stepID]*result), hits: make(map[string]int),
	}
}

func (h *history) started(r *run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.start = time.Now()
	r.seq = len(h.runs)
	h.runs = append(h.runs, r)
	h.log("%s handles %s of key %s, attempt %d", r.process, r.id, r.key, r.attempt)
}

func (h *history) ended(r *run, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.end, r.err, r.finished = time.Now(), err, true
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		h.log("%s fails %s: %s", r.process, r.id, text)
		return
	}
	h.log("%s has handled %s", r.process, r.id)
}

// wrote tells that the broker has answered writes. A mark counts if it has said that
// it stands there.
func (h *history) wrote(records []written) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range records {
		for _, m := range w.marks {
			if m.Kind == streaming.MarkBegun {
				h.begun[m.ID] = true
			}
			if !w.there || m.Kind != streaming.MarkDone && m.Kind != streaming.MarkDead {
				continue
			}
			if _, known := h.marked[msgHash{w.topic, m.ID}]; !known {
				h.marked[msgHash{w.topic, m.ID}] = time.Now()
			}
			if _, known := h.dones[msgHash{w.topic, m.ID}]; !known && m.Kind == streaming.MarkDone {
				h.dones[msgHash{w.topic, m.ID}] = time.Now()
			}
		}
	}
}

// inDoubt reports whether a message was handled in doubt of its handler.
func (h *history) inDoubt(id msgID) bool { return h.begun[streaming.HashID(id.source, id.id)] }

// violates notes what a handler says is wrong.
func (h *history) violates(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, what)
}

func (h *history) hit(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hits[what]++
}

// note adds a line to the trace.
func (h *history) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log(format, args...)
}

func (h *history) log(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf("%11.6f ", time.Since(h.begin).Seconds())+fmt.Sprintf(format, args...))
}

// save writes the trace and returns its path.
func (h *history) save(dir string, seed uint64, head ...string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if dir == "" {
		dir = os.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprintf("simulation-%d.txt", seed))
	text := strings.Join(append(head, h.trace...), "\n") + "\n"
	return path, os.WriteFile(path, []byte(text), 0o600)
}
