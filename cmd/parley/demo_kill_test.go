package main_test

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// phases are those that the demo tells of, in order, with how long after its
// beginning the process is killed at most.
var phases = []struct {
	name  string
	delay time.Duration
}{
	{"starting", 150 * time.Millisecond},
	{"feeding", 25 * time.Millisecond},
	{"handling", 150 * time.Millisecond},
	{"retrying", 400 * time.Millisecond},
	{"stopping", 60 * time.Millisecond},
}

const kills = 25

// tooLate stands for a phase: the demo had ended before it was killed.
const tooLate = "ended"

// TestDemoKilled kills the demo with SIGKILL at random moments and lets it go on
// on the same folder: it ends exact, with each alert's effect once.
func TestDemoKilled(t *testing.T) {
	r := seeded(t)
	killed := map[string]int{}
	for round := range kills {
		dir := filepath.Join(t.TempDir(), "data")
		// A round is one folder. It is killed once at least, now and then more.
		phase := phases[round%len(phases)]
		for more := true; more; {
			in := killOnce(t, dir, phase.name, time.Duration(r.Int64N(int64(phase.delay))))
			killed[in]++
			phase = phases[r.IntN(len(phases))]
			more = in == tooLate || r.IntN(4) == 0
		}
		check(t, dir, demo(t, dir))
		if t.Failed() {
			t.Fatalf("round %d (%s) did not end well; killed so far: %v", round, phase.name, killed)
		}
	}
	t.Logf("killed while %v", killed)
	for _, phase := range phases {
		if killed[phase.name] == 0 {
			t.Errorf("never killed while %s", phase.name)
		}
	}
}

// killOnce runs the demo and kills it that long after a phase has begun. It
// returns the phase that the demo was in, or tooLate.
func killOnce(t *testing.T, dir, phase string, after time.Duration) string {
	t.Helper()
	run := watch(t, "demo", "--json", "--tiers", shortTiers, "--data", dir)
	if phase != "starting" { // which begins before the demo can tell
		run.await(phase) // on a folder that was at work before, a phase may not come
	}
	time.Sleep(after)
	return run.kill()
}

// watched is a run whose progress is read.
type watched struct {
	t       *testing.T
	cmd     *exec.Cmd
	pending sync.WaitGroup

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed and made anew with each line
	over  bool
}

func watch(t *testing.T, args ...string) *watched {
	t.Helper()
	w := &watched{t: t, cmd: command(t, args...), news: make(chan struct{})}
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.pending.Go(func() { w.read(stderr) })
	return w
}

func (w *watched) read(stderr io.Reader) {
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		w.tell(func() { w.lines = append(w.lines, lines.Text()) })
	}
	w.tell(func() { w.over = true })
}

func (w *watched) tell(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	close(w.news)
	w.news = make(chan struct{})
}

// await waits for a phase to begin; false says that the process ended first.
func (w *watched) await(phase string) bool {
	for {
		w.mu.Lock()
		news, over := w.news, w.over
		for _, line := range w.lines {
			if name, _, _ := strings.Cut(line, ":"); name == phase {
				w.mu.Unlock()
				return true
			}
		}
		w.mu.Unlock()
		if over {
			return false
		}
		<-news
	}
}

func (w *watched) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.lines, "\n")
}

// ended waits for the end and returns what was told.
func (w *watched) ended() string {
	w.pending.Wait()
	_ = w.cmd.Wait() // the exit code says it
	return w.text()
}

// kill kills the process and returns the phase that it was in.
func (w *watched) kill() string {
	w.t.Helper()
	_ = w.cmd.Process.Kill()
	text := w.ended()
	if w.cmd.ProcessState.Exited() {
		if code := w.cmd.ProcessState.ExitCode(); code != 0 {
			w.t.Fatalf("the demo ended with exit code %d\n%s", code, text)
		}
		return tooLate
	}
	last := text[strings.LastIndex(text, "\n")+1:]
	name, _, _ := strings.Cut(last, ":")
	if name == "" {
		return "starting" // before it told anything
	}
	return name
}
