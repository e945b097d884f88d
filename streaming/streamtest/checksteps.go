package streamtest

import (
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// stepBegun holds a step that begins against what is known of it: a stored
// result is the first one, and once it is stored the function runs no more.
func (h *history) stepBegun(r *run, name string, value []byte, stored bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.steps[stepID{r.agent, r.id, name}]
	switch {
	case known == nil && stored: // the process that has stored it did not live to know
		h.steps[stepID{r.agent, r.id, name}] = &result{value: string(value), stored: time.Now()}
	case known == nil:
	case !stored:
		known.again = append(known.again, fmt.Sprintf("%s runs %s after its result was stored", r.process, time.Since(known.stored)))
	case known.value != string(value):
		known.bad = append(known.bad, fmt.Sprintf("%s is given another result than the first", r.process))
	}
}

// stepStored notes that the result of a step is durable.
func (h *history) stepStored(r *run, name string, value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := stepID{r.agent, r.id, name}
	if known := h.steps[id]; known == nil {
		h.steps[id] = &result{value: string(value), stored: time.Now()}
	} else if known.value != string(value) {
		known.bad = append(known.bad, fmt.Sprintf("%s has stored a second result", r.process))
	}
}

// partsSent notes the parts of an answer that a run is about to send.
func (h *history) partsSent(r *run, parts []streaming.Outgoing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range parts {
		r.parts = append(r.parts, parts[i].Envelope.Sequence)
	}
}

// checkSteps: a step whose result was stored has that result, and never runs
// again. A former owner that is alive may run it beside the new one: exactly once
// it stores nothing, at least once it may.
func (m *simulator) checkSteps(a *agent) {
	if !a.strict() {
		return
	}
	for id, known := range m.history.steps {
		if id.agent != a.number {
			continue
		}
		if a.takeover {
			known.again = nil
		}
		for _, what := range append(known.again, known.bad...) {
			m.violation("steps: %s: step %s of %s: %s", a.cfg.Agent, id.name, id.id, what)
		}
	}
}
