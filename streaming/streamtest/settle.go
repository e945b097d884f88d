package streamtest

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// settle waits until every record of every agent is settled, and says what is
// not in the end.
func (m *simulator) settle(ctx context.Context) string {
	begin := time.Now()
	m.history.mu.Lock()
	m.history.letGo = begin
	m.history.mu.Unlock()
	letGo, quiet := begin, 0
	for deadline, look := begin.Add(settleTimeout), begin.Add(time.Minute); ; time.Sleep(time.Second) {
		if !time.Now().Before(letGo) {
			m.letGo(ctx)
			letGo = time.Now().Add(10 * time.Second)
		}
		if time.Now().After(look) {
			m.unjam(ctx)
			look = time.Now().Add(time.Minute)
		}
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		left, err := m.unsettled(bounded)
		cancel()
		if err != nil {
			left = err.Error()
		}
		if time.Now().After(deadline) {
			return left
		}
		// What a worker that was cut off had sent before may arrive after a look.
		if left != "" {
			quiet = 0
		} else if quiet++; quiet > 3 {
			return ""
		}
	}
}

// unjam helps the fake broker out where a group does not come into being: each
// join starts its rebalance timer anew, so that members whose joins time out
// keep it from ever firing. Kafka's is not started anew. Keeping everybody away for
// a while lets it fire. And a member that dies as its group becomes stable may be
// kept for ever, without a session: it is made to leave.
func (m *simulator) unjam(ctx context.Context) {
	jammed := false
	alive := m.alive()
	for _, a := range m.agents {
		groups, err := kadm.NewClient(m.client).DescribeGroups(ctx, a.cfg.Group)
		if err != nil {
			continue
		}
		g := groups[a.cfg.Group]
		for _, member := range g.Members {
			if !alive[member.ClientID] {
				m.history.hit("dead member kept by the fake broker")
				m.history.note("the fake broker keeps %s in group %s: it is made to leave", member.ClientID, a.cfg.Group)
				leave := kmsg.NewLeaveGroupRequest()
				leave.Group = a.cfg.Group
				leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member.MemberID}}
				if _, err := leave.RequestWith(ctx, m.client); err != nil {
					m.history.note("it does not: %v", err)
				}
			}
		}
		if g.State == "PreparingRebalance" || g.State == "CompletingRebalance" {
			jammed = true
			m.takenOver(a) // of partitions that members held until now
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
			s.process.link.suffer(outage{broker: everyBroker, up: true, down: true})
		}
		s.mu.Unlock()
	}
	time.Sleep(rebalanceTimeout + 5*time.Second)
	for _, s := range m.slots {
		s.calm()
	}
}

// alive are the processes that run now, by name.
func (m *simulator) alive() map[string]bool {
	names := make(map[string]bool)
	for _, s := range m.slots {
		s.mu.Lock()
		if s.process != nil {
			names[s.process.name] = true
		}
		s.mu.Unlock()
	}
	return names
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
		n := make(map[string]int)
		if err := m.log.Scan(ctx, ranges, func(rec streaming.Record) { n[fmt.Sprintf("%s/%d", rec.Topic, rec.Partition)]++ }); err != nil {
			return "", err
		}
		if len(n) > 0 {
			left += fmt.Sprintf("%s has not settled %v; ", a.cfg.Agent, n)
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
		if a.cfg.Hold {
			all = append(all, streaming.HoldTopic(topic, a.cfg.Group))
		}
	}
	return all
}

func (a *agent) group() audit.Group {
	g := audit.Group{Agent: a.cfg.Agent, Group: a.cfg.Group, Namespace: a.cfg.Namespace, Streams: a.cfg.Streams, Filters: a.cfg.Filters}
	for t := range a.cfg.Handlers {
		g.Types = append(g.Types, t)
	}
	return g
}
