package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// forwarded is m's own record for another topic: its value, key and headers, but
// for those that say where it goes, how far it may, and who has forwarded it.
func (l *Lane) forwarded(m *message, out *streaming.Outgoing, now time.Time) *streaming.Record {
	env := streaming.Envelope{Hops: m.env.Hops - 1, Recipient: out.Envelope.Recipient, Route: out.Envelope.Route}
	env.TraceParent, env.TraceState = l.cfg.Trace(m.env.TraceParent, m.env.TraceState)
	headers := make([]streaming.Header, 0, len(m.rec.Headers)+4)
	for _, h := range m.rec.Headers {
		if !slices.Contains(rewritten, h.Key) {
			headers = append(headers, h)
		}
	}
	for _, h := range schemas.AppendEnvelope(nil, &env) {
		if slices.Contains(rewritten, h.Key) {
			headers = append(headers, h)
		}
	}
	by := strings.Join(append(forwarders(m), l.cfg.Agent), ",")
	headers = append(headers, streaming.Header{Key: schemas.HeaderForwarded, Value: []byte(by)})
	key := m.rec.Key
	if key == nil { // so that a repeated run sends it to the same partition, which knows it again
		key = []byte(m.env.CorrelationID)
	}
	return &streaming.Record{Topic: out.Topic, Partition: out.Partition, Timestamp: now, Key: key, Value: m.rec.Value, Headers: headers, Routed: out.Routed}
}

// rewritten are the headers that a forwarded message does not keep.
var rewritten = []string{
	schemas.HeaderRecipient, schemas.HeaderHops, schemas.HeaderRoute, schemas.HeaderForwarded, schemas.HeaderTraceParent, schemas.HeaderTraceState,
}

// forwarders are the agents that have forwarded a message, in order.
func forwarders(m *message) []string {
	by, _ := m.rec.Header(schemas.HeaderForwarded)
	if len(by) == 0 {
		return nil
	}
	return strings.Split(string(by), ",")
}

// loops refuses to forward a message to where it has come from: under its own ID it
// would be taken for its own duplicate there, and end without a trace.
func (l *Lane) loops(m *message, staged []streaming.Outgoing) error {
	var before []string
	for i := range staged {
		if !staged[i].Forward {
			continue
		}
		if before == nil {
			before = append(forwarders(m), l.cfg.Agent)
		}
		for _, agent := range before {
			if staged[i].Topic == l.cfg.Namespace.Inbox(agent) {
				return streaming.DeadLetter(streaming.ReasonHops, fmt.Errorf("it is forwarded in a loop: %s, and again to %s", strings.Join(before, ", "), agent))
			}
		}
	}
	return nil
}

// forwards reports whether a handler only sends messages on.
func forwards(h streaming.Handler) bool {
	_, ok := h.(streaming.Forwarder)
	return ok
}
