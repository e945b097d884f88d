package streamtest

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// owner is one that has claimed a lane, from its claim on.
type owner struct {
	process string
	epoch   int64            // offset of its claim; unknown until that is acknowledged
	ends    map[string]int64 // of the lane's companions when the claim was sent: it has read what is below
	acted   bool             // it has begun a handler, or written to a companion
	rival   bool             // a former owner has done so since its claim
}

const unknown = -1 // epoch

// owners are those of one lane, in the order of their claims. A claim alone makes
// none: a worker that has lost the lane meanwhile claims late, and then drops it.
//
// A write bears its owner's epoch in the ledger only. Elsewhere it counts for the
// last claim of its process.
type owners []*owner

// claims notes that a process sends a claim, perhaps again.
func (os *owners) claims(process string, ends map[string]int64) {
	for _, o := range *os {
		if o.process == process && o.epoch == unknown {
			return
		}
	}
	*os = append(*os, &owner{process: process, epoch: unknown, ends: ends})
}

// claimed notes where the claim of a process stands.
func (os owners) claimed(process string, epoch int64) {
	if i := os.of(process, unknown); i >= 0 {
		os[i].epoch = epoch
	}
}

// begins notes that an owner begins a handler or a step.
func (os owners) begins(process string, epoch int64) {
	i := os.of(process, epoch)
	if i < 0 {
		return
	}
	os[i].acted = true
	for _, later := range os[i+1:] {
		later.rival = true
	}
}

// wrote notes that what an owner has written to a companion stands at that offset.
func (os owners) wrote(process string, epoch int64, topic string, offset int64) {
	i := os.of(process, epoch)
	for j := len(os) - 1; i < 0 && j >= 0; j-- {
		if os[j].process == process && os[j].epoch != unknown {
			i = j
		}
	}
	if i < 0 {
		return
	}
	os[i].acted = true
	for _, later := range os[i+1:] {
		later.rival = later.rival || offset >= later.ends[topic]
	}
}

func (os owners) of(process string, epoch int64) int {
	for i, o := range os {
		if o.process == process && o.epoch == epoch {
			return i
		}
	}
	return -1
}

// two reports whether two owners have been at work side by side: both have acted,
// the former after the later one's claim.
func (os owners) two() bool {
	for _, o := range os {
		if o.acted && o.rival {
			return true
		}
	}
	return false
}

// companions are the topics beside an agent's inputs, with their input.
func (a *agent) companions() map[string]string {
	all := make(map[string]string)
	for _, topic := range a.inputs() {
		all[streaming.LedgerTopic(topic, a.cfg.Group)] = topic
		all[streaming.DeadLetterTopic(topic, a.cfg.Group)] = topic
		all[streaming.HoldTopic(topic, a.cfg.Group)] = topic
		all[streaming.StateTopic(topic, a.cfg.Group)] = topic
		for _, d := range a.cfg.Retry.Tiers {
			all[streaming.RetryTopic(topic, d, a.cfg.Group)] = topic
		}
	}
	return all
}

// owning tells the owners of a lane something, and the simulation if there are two
// at work now.
func (p *process) owning(lane streaming.TopicPartition, tell func(os *owners)) {
	a := p.slot.agent
	a.mu.Lock()
	os := a.owners[lane]
	if os == nil {
		os = new(owners)
		a.owners[lane] = os
	}
	tell(os)
	two := os.two()
	a.mu.Unlock()
	if two {
		p.slot.m.takenOver(a)
	}
}

// begins tells that the process begins a handler, or a step of one.
func (p *process) begins(c streaming.Claim) {
	p.owning(streaming.TopicPartition{Topic: c.Topic, Partition: c.Partition}, func(os *owners) { os.begins(p.name, c.Epoch) })
}

// sends looks for claims in what is about to reach the broker.
func (p *process) sends(writes []written) {
	companions := p.slot.agent.companions()
	for _, w := range writes {
		if !w.claims() {
			continue
		}
		lane := streaming.TopicPartition{Topic: companions[w.topic], Partition: w.partition}
		ends := make(map[string]int64)
		for topic, input := range companions {
			if input != lane.Topic {
				continue
			}
			if info := p.slot.m.fake.PartitionInfo(topic, w.partition); info != nil {
				ends[topic] = info.HighWatermark
			}
		}
		p.owning(lane, func(os *owners) { os.claims(p.name, ends) })
	}
}

// answered notes in the writes which of them the broker has taken, by its answer. Of a
// batch that it had before, that names the offset at which it stands since.
func (w *wire) answered(writes []written, answer []byte, version int16) {
	resp, ok := answerIn(answer, int16(kmsg.Produce), version).(*kmsg.ProduceResponse)
	if !ok {
		return
	}
	bases := make(map[streaming.TopicPartition]int64)
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" {
			topic = w.topics[t.TopicID]
		}
		for _, part := range t.Partitions {
			if part.ErrorCode == 0 {
				bases[streaming.TopicPartition{Topic: topic, Partition: part.Partition}] = part.BaseOffset
			}
		}
	}
	for i := range writes {
		in := &writes[i]
		in.base, in.there = bases[streaming.TopicPartition{Topic: in.topic, Partition: in.partition}]
	}
}

// sent tells the owners what has been written.
func (p *process) sent(writes []written) {
	companions := p.slot.agent.companions()
	for _, w := range writes {
		input, known := companions[w.topic]
		if !known || !w.there {
			continue
		}
		p.owning(streaming.TopicPartition{Topic: input, Partition: w.partition}, func(os *owners) {
			if w.marks == nil {
				os.wrote(p.name, unknown, w.topic, w.base+int64(w.records)-1)
			}
			for _, m := range w.marks {
				if at := w.base + int64(m.record); m.Kind == streaming.MarkClaim {
					os.claimed(p.name, at)
				} else {
					os.wrote(p.name, m.Epoch, w.topic, at)
				}
			}
		})
	}
}
