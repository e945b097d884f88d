package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Fleet are the worker processes of a run. Each slot has one, or is between
// two.
type Fleet struct {
	variable string // of the environment
	told     func(number int, host string) (string, error)
	dir      string // for their logs

	mu    sync.Mutex
	slots []*slot
	exits []string // processes that ended without being told to
	ended bool
}

type slot struct {
	number int
	host   string // that it dials from
	cmd    *exec.Cmd
	gone   chan struct{} // closed when cmd has ended
	told   bool          // to end
	busy   bool          // a fault is at work on it
	err    error
}

// NewFleet starts workers on hosts of a net.
func NewFleet(spec Spec, net, workers int, dir string) (*Fleet, error) {
	return NewProcesses(WorkerVariable, func(number int, host string) (string, error) {
		spec := spec
		spec.Host = host
		spec.Instance = fmt.Sprintf("slot-%d", number)
		text, err := json.Marshal(spec)
		return string(text), err
	}, net, workers, dir)
}

// NewProcesses starts workers that are this binary with what they are told in a
// variable of the environment. told is asked anew for each process.
func NewProcesses(variable string, told func(number int, host string) (string, error), net, workers int, dir string) (*Fleet, error) {
	f := &Fleet{variable: variable, told: told, dir: dir}
	for i := range workers {
		f.slots = append(f.slots, &slot{number: i, host: Host(net, i+1)})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.slots {
		if err := f.start(s); err != nil {
			return f, err
		}
	}
	return f, nil
}

// start starts a slot's process.
func (f *Fleet) start(s *slot) error {
	text, err := f.told(s.number, s.host)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(f.LogFile(s.number), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), f.variable+"="+text)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.gone, s.told, s.err = cmd, make(chan struct{}), false, nil
	go f.watch(s, cmd, s.gone)
	return nil
}

// watch starts a process that has ended by itself anew, as a supervisor would,
// and notes it.
func (f *Fleet) watch(s *slot, cmd *exec.Cmd, gone chan struct{}) {
	err := cmd.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.told && diedOf(err, syscall.SIGTERM) {
		err = nil // it had not begun to listen for it
	}
	s.err = err
	close(gone)
	if s.told || f.ended {
		return
	}
	f.exits = append(f.exits, fmt.Sprintf("%s worker %d (pid %d): %v", time.Now().Format(clock), s.number, cmd.Process.Pid, err))
	time.AfterFunc(time.Second, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if s.gone == gone && !f.ended {
			_ = f.start(s)
		}
	})
}

func diedOf(err error, sig syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}

// leftAtWork is how many workers no fault is laid on, where there are more.
const leftAtWork = 2

// clock is how logs of a run tell the time.
const clock = "15:04:05.000"

// pick reserves a slot whose process is at work, at random; nil: too few would
// be left.
func (f *Fleet) pick(rnd *rand.Rand) *slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var free []*slot
	for _, s := range f.slots {
		if !s.busy {
			free = append(free, s)
		}
	}
	if len(free) <= min(leftAtWork, len(f.slots)-1) {
		return nil
	}
	s := free[rnd.IntN(len(free))]
	s.busy = true
	return s
}

func (f *Fleet) release(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.busy = false
}

// signal sends a signal and returns what is closed when the process has ended.
func (f *Fleet) signal(s *slot, sig syscall.Signal) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		s.told = true
	}
	_ = s.cmd.Process.Signal(sig)
	return s.gone
}

func (f *Fleet) restart(s *slot) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.start(s)
}

// Replace ends a slot's process with a signal, and starts another when it is
// gone. The error is also that of a process that was told to end and did not
// end well.
func (f *Fleet) Replace(number int, sig syscall.Signal, within time.Duration) error {
	s := f.slots[number]
	select {
	case <-f.signal(s, sig):
	case <-time.After(within):
		return fmt.Errorf("worker %d does not end within %s", number, within)
	}
	if sig != syscall.SIGKILL && s.err != nil {
		return fmt.Errorf("worker %d: %w", number, s.err)
	}
	return f.restart(s)
}

// LogFile is where a slot's processes write.
func (f *Fleet) LogFile(number int) string {
	return filepath.Join(f.dir, fmt.Sprintf("worker-%d.log", number))
}

// Drain ends all workers as an operator would, within a time, and says which
// did not end well.
func (f *Fleet) Drain(within time.Duration) []error {
	var errs []error
	late := time.After(within)
	gone := make([]chan struct{}, len(f.slots))
	for i, s := range f.slots {
		gone[i] = f.signal(s, syscall.SIGTERM)
	}
	for i, s := range f.slots {
		select {
		case <-gone[i]:
			if s.err != nil {
				errs = append(errs, fmt.Errorf("worker %d: %w", s.number, s.err))
			}
		case <-late:
			errs = append(errs, fmt.Errorf("worker %d does not drain within %s", s.number, within))
			late = time.After(0)
		}
	}
	return errs
}

// Exits are the processes that ended without being told to.
func (f *Fleet) Exits() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.exits...)
}

// End kills what is left.
func (f *Fleet) End() {
	f.mu.Lock()
	f.ended = true
	var gone []chan struct{}
	for _, s := range f.slots {
		if s.cmd != nil {
			_ = s.cmd.Process.Kill()
			gone = append(gone, s.gone)
		}
	}
	f.mu.Unlock()
	for _, g := range gone {
		<-g
	}
}
