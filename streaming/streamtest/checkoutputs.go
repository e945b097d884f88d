package streamtest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// output is a message that an agent has sent, as a read_committed reader sees it.
type output struct {
	topic     string
	partition int32
	offset    int64
	key       string
	count     int
	reply     bool
	value     []byte
	differs   bool // not all of them have that value
}

// outputs are all messages but contracts and instances that stand in topics that are no companions, by
// their IDs: the place of the first, and how many there are.
func (m *simulator) outputs(l *log) map[msgID]*output {
	all := make(map[msgID]*output)
	for topic, records := range l.records {
		if isCompanion(topic) {
			continue
		}
		for i := range records {
			env, _ := schemas.DecodeEnvelope(&records[i])
			if env.Type == schemas.TypeAgentContract || schemas.IsInstanceKey(records[i].Key) {
				continue // of a worker, not of a handler
			}
			id := named(&records[i])
			o := all[id]
			if o == nil {
				o = &output{topic: topic, partition: records[i].Partition, offset: records[i].Offset, key: string(records[i].Key), reply: env.Kind == streaming.KindReply, value: records[i].Value}
				all[id] = o
			}
			o.count++
			o.differs = o.differs || !bytes.Equal(o.value, records[i].Value)
		}
	}
	return all
}

// named is the message ID that a record's headers say, though they break the
// contract: what answers a sender of a strange name does.
func named(rec *streaming.Record) (id msgID) {
	for _, h := range rec.Headers {
		switch h.Key {
		case "ce_source":
			id.source = string(h.Value)
		case "ce_id":
			id.id = string(h.Value)
		}
	}
	return id
}

// derived is the ID of a run's output.
func (a *agent) derived(r *run, position int) msgID {
	return msgID{a.cfg.Agent, schemas.DerivedID(r.id.source, r.id.id, a.cfg.Group, position)}
}

// checkOutputs: all outputs of what is done are there; under exactly once each
// once, and none of what is not done.
func (m *simulator) checkOutputs(a *agent, l *log, runs []*run, e ends, input map[keyed]place, outputs map[msgID]*output) {
	known := make(map[msgID]bool)
	for id := range input {
		for _, ack := range []int{-1, -2, -3} { // of delivery and of handling, and the error reply to a dead request
			known[a.derived(&run{id: id.msgID}, ack)] = true
		}
	}
	fewest := make(map[msgID]int) // outputs of a run
	latest := make(map[msgID]int) // attempt that has succeeded: those before it had an output that was refused
	for _, r := range runs {
		for _, sequence := range r.parts { // sent while the handler runs
			known[a.derived(r, pipeline.PartPosition(sequence))] = true
		}
		if n, ran := fewest[r.id]; r.finished && r.err == nil && (!ran || r.outputs < n) {
			fewest[r.id] = r.outputs
		}
		if r.finished && r.err == nil {
			latest[r.id] = max(latest[r.id], r.attempt)
		}
	}
	for _, r := range runs {
		if !r.finished || r.err != nil {
			continue
		}
		for i := range r.outputs {
			if slices.Contains(r.forwards, i) {
				if e.done[r.id] && !m.sentOn(a, l, r.id) {
					m.violation("outputs: %s: %s is done, but it was sent on to nowhere", a.cfg.Agent, r.id)
				}
				continue
			}
			id := a.derived(r, i)
			if known[id] {
				continue
			}
			known[id] = true
			o := outputs[id]
			switch {
			case o == nil && a.cfg.State && i >= fewest[r.id]:
				// Between two runs another message, such as a deadline, may have changed the
				// state, and left this one less to do.
				known[id] = false
			case o == nil && i >= fewest[r.id] && r.attempt < latest[r.id]:
				known[id] = false
			case o == nil && r.unowed[i] != "" && m.fake.PartitionInfo(r.unowed[i], 0) == nil:
			case o == nil && e.done[r.id]:
				m.violation("outputs: %s: %s is done, but its output %d is nowhere", a.cfg.Agent, r.id, i)
			case o == nil || !a.cfg.ExactlyOnce:
			case !e.done[r.id]:
				m.violation("aborted reads: %s: %s is not done, but its output %d can be read", a.cfg.Agent, r.id, i)
			case o.reply: // a duplicate of an answered request gets the same answer again
				if o.differs {
					m.violation("outputs: %s: request %s has got different answers", a.cfg.Agent, r.id)
				}
			case o.count > 1:
				m.violation("aborted reads: %s: output %d of %s can be read %d times", a.cfg.Agent, i, r.id, o.count)
			}
		}
	}
	for id := range outputs {
		if id.source == a.cfg.Agent && !known[id] {
			m.violation("outputs: %s has sent %s to %s, but no handler that succeeded has staged it", a.cfg.Agent, id, outputs[id].topic)
		}
	}
}

// sentOn reports whether a message stands in a topic that is neither the agent's
// input nor a companion.
func (m *simulator) sentOn(a *agent, l *log, id msgID) bool {
	if l.elsewhere == nil {
		l.elsewhere = make(map[msgID][]string)
		for topic, records := range l.records {
			if isCompanion(topic) {
				continue
			}
			for i := range records {
				id := named(&records[i])
				l.elsewhere[id] = append(l.elsewhere[id], topic)
			}
		}
	}
	return slices.ContainsFunc(l.elsewhere[id], func(topic string) bool { return !slices.Contains(a.inputs(), topic) })
}

func isCompanion(topic string) bool {
	return strings.Contains(topic, ".retry-") || strings.Contains(topic, ".dlq.") || strings.Contains(topic, ".ledger.") || strings.Contains(topic, ".hold.")
}

// checkOutputOrder: outputs that keep the key of their cause stand in its order.
func (m *simulator) checkOutputOrder(a *agent, runs []*run, input map[keyed]place, outputs map[msgID]*output, e ends) {
	if !a.strict() || a.cfg.Unordered {
		return
	}
	type lane struct {
		from place
		to   streaming.TopicPartition
		key  string
	}
	byOrigin := make(map[lane]map[int64]int64) // origin to the offset of its first output
	for _, r := range runs {
		for i := range r.outputs {
			o := outputs[a.derived(r, i)]
			if o == nil || i > 0 || o.key != r.key || r.key == "" || !r.due.IsZero() || e.redriven(a, r) {
				continue
			}
			from := input[keyed{r.id, r.key}]
			k := lane{place{topic: from.topic, partition: from.partition}, streaming.TopicPartition{Topic: o.topic, Partition: o.partition}, r.key}
			if byOrigin[k] == nil {
				byOrigin[k] = make(map[int64]int64)
			}
			byOrigin[k][from.offset] = o.offset
		}
	}
	for k, offsets := range byOrigin {
		for origin, offset := range offsets {
			for later, at := range offsets {
				if later > origin && at < offset {
					m.violation("order: %s: key %s: the output of origin %d stands before that of origin %d in %s", a.cfg.Agent, k.key, later, origin, k.to.Topic)
				}
			}
		}
	}
}
