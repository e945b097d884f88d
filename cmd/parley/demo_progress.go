package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// The phases of a demo.
const (
	phaseStarting = "starting" // broker, topics, first audit, agents
	phaseFeeding  = "feeding"
	phaseHandling = "handling" // records of input topics are left
	phaseRetrying = "retrying" // only what waits in retry topics is left
	phaseStopping = "stopping" // agents end, last audit
)

// sparsePause is how often progress is told where it is not a terminal.
const sparsePause = 2 * time.Second

// progress tells how far the demo is: a line that changes on a terminal, else
// one line for each phase and every two seconds.
type progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	current string
	last    time.Time
	open    bool // a line without its end is on the terminal
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, now: time.Now}
	if file, ok := w.(*os.File); ok {
		if info, err := file.Stat(); err == nil {
			p.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

// phase tells that a phase goes on, with what is known of it.
func (p *progress) phase(name, text string) {
	now := p.now()
	line := name
	if text != "" {
		line += ": " + text
	}
	if p.terminal {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K"+line)
		p.open = true
		return
	}
	if name == p.current && now.Sub(p.last) < sparsePause {
		return
	}
	p.current, p.last = name, now
	_, _ = fmt.Fprintln(p.w, line)
}

// end takes the changing line away.
func (p *progress) end() {
	if p.open {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}
