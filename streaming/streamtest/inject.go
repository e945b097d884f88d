package streamtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// brokerErrors are what a broker may answer for a moment, a write that was done
// all the same included.
var brokerErrors = []struct {
	key kmsg.Key
	err *kerr.Error
}{
	{kmsg.Produce, kerr.NotLeaderForPartition},
	{kmsg.Produce, kerr.NotEnoughReplicas},
	{kmsg.Produce, kerr.RequestTimedOut},
	{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend},
	{kmsg.Fetch, kerr.NotLeaderForPartition},
	{kmsg.ListOffsets, kerr.LeaderNotAvailable},
	{kmsg.OffsetCommit, kerr.CoordinatorLoadInProgress},
	{kmsg.OffsetCommit, kerr.RequestTimedOut},
	{kmsg.OffsetFetch, kerr.CoordinatorLoadInProgress},
	{kmsg.Heartbeat, kerr.CoordinatorLoadInProgress},
	{kmsg.Heartbeat, kerr.RebalanceInProgress},
	{kmsg.InitProducerID, kerr.ConcurrentTransactions},
	{kmsg.InitProducerID, kerr.CoordinatorLoadInProgress},
	{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions},
	{kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress},
	{kmsg.EndTxn, kerr.CoordinatorLoadInProgress},
	{kmsg.EndTxn, kerr.ConcurrentTransactions},
}

// inject lets the plan's troubles happen.
func (m *simulator) inject() {
	var all sync.WaitGroup
	var mu sync.Mutex
	var faults []*kfake.FaultHandle
	r := rand.New(rand.NewPCG(m.seed, 2))
	slots := m.slots
	for _, t := range m.plan.troubles {
		s, e, n := slots[t.slot], brokerErrors[r.IntN(len(brokerErrors))], 1+r.IntN(4)
		all.Go(func() {
			time.Sleep(t.at)
			if t.fault != FaultError {
				m.happen(t, s)
				return
			}
			m.history.note("the broker answers %s with %s, %d times", e.key.Name(), e.err.Message, n)
			h := m.fake.Fault(kfake.Fault{Keys: []kmsg.Key{e.key}, Err: e.err, Count: n})
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, h)
		})
	}
	all.Wait()
	time.Sleep(m.plan.lasts() - time.Since(m.history.begin))
	for _, h := range faults {
		if h.Hits() > 0 {
			m.history.hit(string(FaultError))
		}
		h.Remove()
	}
}

func (m *simulator) happen(t trouble, s *slot) {
	if t.fault == FaultJoin {
		m.join(t, s)
		return
	}
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	if p == nil {
		return
	}
	if t.fault != FaultTimeout {
		m.history.hit(string(t.fault))
	}
	m.history.note("%s: %s %s", p.name, t.fault, t.last)
	switch t.fault {
	case FaultTimeout:
		p.loss.Store(true)
	case FaultCut:
		p.link.cut()
	case FaultSlow:
		p.link.slowDown(time.Duration(100+m.seed%5*100) * time.Millisecond)
		time.Sleep(t.last)
		p.link.slowDown(0)
	case FaultPartition, FaultZombie:
		if t.fault == FaultZombie {
			s.agent.mu.Lock()
			s.agent.takeover = true
			s.agent.mu.Unlock()
		}
		p.link.partition()
		time.Sleep(t.last)
		m.history.note("%s: healed", p.name)
		p.link.heal()
	case FaultLeave:
		p.left.Store(true)
		p.cancel()
		time.Sleep(t.last)
		s.restart()
	case FaultClock:
		s.agent.mu.Lock()
		s.agent.skewed = true
		s.agent.mu.Unlock()
		p.clock.ahead.Store(int64(t.last))
	}
}

// restart starts a process once the former one has gone.
func (s *slot) restart() {
	for {
		s.mu.Lock()
		p := s.process
		s.mu.Unlock()
		if p == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.start()
}

// join lets one more worker of an agent work for a while.
func (m *simulator) join(t trouble, like *slot) {
	m.history.hit(string(t.fault))
	m.mu.Lock()
	s := &slot{m: m, agent: like.agent, number: len(m.slots), name: fmt.Sprintf("%s-j%d", like.agent.cfg.Agent, len(m.slots))}
	m.slots = append(m.slots, s)
	m.mu.Unlock()
	s.start()
	time.Sleep(5*time.Second + t.last)
	s.end()
}

// load sends the input.
func (m *simulator) load(ctx context.Context) error {
	type sending struct {
		at  time.Duration
		rec *kgo.Record
	}
	var all []sending
	r := rand.New(rand.NewPCG(m.seed, 3))
	at := time.Duration(0)
	for i := range m.s.Messages {
		if r.IntN(8) == 0 {
			at += time.Duration(r.Int64N(int64(length) * 8 / int64(m.s.Messages) * 3 / 2))
		}
		rec, err := m.input(ctx, r, i)
		if err != nil {
			return err
		}
		all = append(all, sending{at, rec})
		if slices.Contains(m.s.Faults, FaultDuplicate) && r.IntN(15) == 0 {
			copied := *rec
			all = append(all, sending{at + time.Duration(r.IntN(3))*time.Duration(r.IntN(10_000))*time.Millisecond, &copied})
			m.history.hit(string(FaultDuplicate))
		}
		if slices.Contains(m.s.Faults, FaultMalformed) && r.IntN(25) == 0 {
			all = append(all, sending{at, malformed(r, rec)})
			m.history.hit(string(FaultMalformed))
		}
	}
	slices.SortStableFunc(all, func(a, b sending) int { return int(a.at - b.at) })
	begin := time.Now()
	for len(all) > 0 {
		time.Sleep(all[0].at - time.Since(begin))
		var batch []*kgo.Record
		for len(all) > 0 && all[0].at <= time.Since(begin) {
			batch = append(batch, all[0].rec)
			all = all[1:]
		}
		if err := m.client.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			return err
		}
		m.sent += len(batch)
	}
	return nil
}

// input is the i-th input message as a record.
func (m *simulator) input(ctx context.Context, r *rand.Rand, i int) (*kgo.Record, error) {
	msg := m.s.Message(r, i)
	value, err := m.wire.codec.Encode(ctx, msg.Payload)
	if err != nil {
		return nil, err
	}
	topic := msg.Topic
	if topic == "" {
		topic = m.agents[0].cfg.Namespace.Inbox(m.agents[0].cfg.Agent)
	}
	id := fmt.Sprintf("m%04d", i)
	rec := pipeline.Record(&streaming.Envelope{
		ID: id, Source: "source", Type: typeOf(msg.Payload), Time: time.Now(), Kind: streaming.KindCommand,
		CorrelationID: id, Hops: streaming.DefaultHops,
	}, &streaming.Outgoing{Topic: topic, Partition: -1, Key: msg.Key, Value: value})
	out := &kgo.Record{Topic: rec.Topic, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out, nil
}

// malformed is a record that cannot be handled.
func malformed(r *rand.Rand, like *kgo.Record) *kgo.Record {
	bad := &kgo.Record{Topic: like.Topic, Key: like.Key, Value: like.Value}
	switch r.IntN(4) {
	case 0: // no envelope
	case 1: // cut
		bad.Value = like.Value[:r.IntN(len(like.Value))]
		bad.Headers = renamed(like, r)
	case 2: // noise
		bad.Value = make([]byte, r.IntN(100))
		for i := range bad.Value {
			bad.Value[i] = byte(r.Uint32())
		}
		bad.Headers = renamed(like, r)
	case 3: // nothing
		bad.Value, bad.Key = nil, nil
	}
	return bad
}

// renamed are the headers of a record with another message ID.
func renamed(like *kgo.Record, r *rand.Rand) []kgo.RecordHeader {
	headers := slices.Clone(like.Headers)
	for i := range headers {
		if headers[i].Key == "ce_id" {
			headers[i].Value = fmt.Appendf(nil, "bad-%x", r.Uint64())
		}
	}
	return headers
}

// settle waits until every record of every agent is settled, and says what is
// not in the end.
func (m *simulator) settle(ctx context.Context) string {
	begin := time.Now()
	for deadline, look := begin.Add(settleTimeout), begin.Add(time.Minute); ; time.Sleep(time.Second) {
		if time.Now().After(look) {
			m.unjam(ctx)
			look = time.Now().Add(time.Minute)
		}
		left, err := m.unsettled(ctx)
		if err != nil {
			left = err.Error()
		}
		if left == "" || time.Now().After(deadline) {
			return left
		}
	}
}

// unjam helps the fake broker out where a group does not come into being: each
// join starts its rebalance timer anew, so that members whose joins time out
// keep it from ever firing. Kafka's is not started anew. Keeping everybody away
// for a while lets it fire.
func (m *simulator) unjam(ctx context.Context) {
	jammed := false
	for _, a := range m.agents {
		groups, err := kadm.NewClient(m.client).DescribeGroups(ctx, a.cfg.Group)
		if err == nil && groups[a.cfg.Group].State == "PreparingRebalance" {
			jammed = true
			a.takeover = true // of partitions that members held until now
		}
	}
	if !jammed {
		return
	}
	m.history.hit("jammed group of the fake broker")
	m.history.note("the fake broker's group is jammed: nobody may join for a while")
	for _, s := range m.slots {
		s.mu.Lock()
		if s.process != nil {
			s.process.link.partition()
		}
		s.mu.Unlock()
	}
	time.Sleep(rebalanceTimeout + 5*time.Second)
	for _, s := range m.slots {
		s.calm()
	}
}

// unsettled says which records are not passed by committed offsets. The markers
// of transactions are none: a lag may be left that nobody can settle. All
// committed offsets are read before any end: where nothing is left there was a
// moment between at which nothing was under way.
func (m *simulator) unsettled(ctx context.Context) (string, error) {
	committed := make([]map[streaming.TopicPartition]int64, len(m.agents))
	for i, a := range m.agents {
		var err error
		if committed[i], err = m.log.Committed(ctx, a.cfg.Group); err != nil {
			return "", err
		}
	}
	left := ""
	for i, a := range m.agents {
		ends, err := m.log.EndOffsets(ctx, a.logs()...)
		if err != nil {
			return "", err
		}
		starts, err := m.log.StartOffsets(ctx, a.logs()...)
		if err != nil {
			return "", err
		}
		var ranges []kafka.Range
		for tp, end := range ends {
			ranges = append(ranges, kafka.Range{TopicPartition: tp, From: max(committed[i][tp], starts[tp]), To: end})
		}
		n := 0
		if err := m.log.Scan(ctx, ranges, func(streaming.Record) { n++ }); err != nil {
			return "", err
		}
		if n > 0 {
			left += fmt.Sprintf("%s has not settled %d records; ", a.cfg.Agent, n)
		}
	}
	return left, nil
}

// logs are the input topics and their retry topics.
func (a *agent) logs() []string {
	var all []string
	for _, topic := range a.inputs() {
		all = append(all, topic)
		for _, d := range a.cfg.Retry.Tiers {
			all = append(all, streaming.RetryTopic(topic, d, a.cfg.Group))
		}
	}
	return all
}

func (a *agent) group() audit.Group {
	g := audit.Group{Agent: a.cfg.Agent, Group: a.cfg.Group, Namespace: a.cfg.Namespace, Streams: a.cfg.Streams}
	for t := range a.cfg.Handlers {
		g.Types = append(g.Types, t)
	}
	return g
}
