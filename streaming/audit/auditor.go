package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Log is what an audit needs of the log: *kafka.Log.
type Log interface {
	Topics(ctx context.Context, prefix string) (map[string]int32, error)
	Committed(ctx context.Context, group string) (map[streaming.TopicPartition]int64, error)
	StartOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error)
	EndOffsets(ctx context.Context, topics ...string) (map[streaming.TopicPartition]int64, error)
	Scan(ctx context.Context, ranges []kafka.Range, each func(streaming.Record)) error
}

var _ Log = (*kafka.Log)(nil)

// Group is the consumer group of an agent.
type Group struct {
	Agent     string
	Group     string                     // default: the agent's name
	Namespace streaming.Namespace        // default: parley
	Streams   []string                   // streams subscribed to
	Types     []string                   // message types handled, or patterns of them
	Filters   map[string]*schemas.Filter // by message type: what does not match is skipped
	// Begins is where a group that began at the end of a stream has begun: what stands
	// before is not the group's.
	Begins map[streaming.TopicPartition]int64
}

// input is one input topic with its companions.
type input struct {
	topic      string
	inbox      bool
	partitions int32
	tiers      []string // all that exist, and the hold topic, whatever the worker's policy is now
	dead       string
	ledger     string
}

// Auditor audits one group.
type Auditor struct {
	log    Log
	codec  *schemas.Codec
	group  Group
	inputs []input
}

// New finds the group's topics. All of them have to exist, as they do once a
// worker of the group has started.
func New(ctx context.Context, log Log, codec *schemas.Codec, g Group) (*Auditor, error) {
	if g.Group == "" {
		g.Group = g.Agent
	}
	if g.Namespace == "" {
		g.Namespace = streaming.DefaultNamespace
	}
	topics, err := log.Topics(ctx, string(g.Namespace)+".")
	if err != nil {
		return nil, err
	}
	a := &Auditor{log: log, codec: codec, group: g}
	names := []string{g.Namespace.Inbox(g.Agent)}
	for _, s := range g.Streams {
		names = append(names, g.Namespace.Events(s))
	}
	for i, topic := range names {
		in := input{
			topic: topic, inbox: i == 0, partitions: topics[topic],
			dead:   streaming.DeadLetterTopic(topic, g.Group),
			ledger: streaming.LedgerTopic(topic, g.Group),
		}
		for _, needed := range []string{in.topic, in.dead, in.ledger} {
			if topics[needed] == 0 {
				return nil, fmt.Errorf("audit of %s: topic %s does not exist", g.Agent, needed)
			}
		}
		for name := range topics {
			if strings.HasPrefix(name, topic+".retry-") && strings.HasSuffix(name, "."+g.Group) || name == streaming.HoldTopic(topic, g.Group) {
				in.tiers = append(in.tiers, name)
			}
		}
		slices.Sort(in.tiers)
		a.inputs = append(a.inputs, in)
	}
	return a, nil
}

// Agent is the name of the agent that is audited.
func (a *Auditor) Agent() string { return a.group.Agent }

// Backlog is what a group has not passed yet.
type Backlog struct {
	Input   int64            // records of its input topics
	Retry   int64            // records of its retry topics
	ByTopic map[string]int64 // all of the group's input and retry topics
}

// Empty says that nothing is left to do.
func (b Backlog) Empty() bool { return b.Input == 0 && b.Retry == 0 }

// Backlogs reads the backlogs of groups on one log. All committed offsets are
// read before any end offset: where all backlogs are empty there was a moment
// between at which every record of all these groups was settled, so nothing was
// under way anywhere.
func Backlogs(ctx context.Context, auditors ...*Auditor) ([]Backlog, error) {
	if len(auditors) == 0 {
		return nil, nil
	}
	committed := make([]map[streaming.TopicPartition]int64, len(auditors))
	var topics []string
	for i, a := range auditors {
		var err error
		if committed[i], err = a.log.Committed(ctx, a.group.Group); err != nil {
			return nil, err
		}
		for _, in := range a.inputs {
			topics = append(append(topics, in.topic), in.tiers...)
		}
	}
	slices.Sort(topics)
	topics = slices.Compact(topics) // two groups may read one stream
	starts, err := auditors[0].log.StartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := auditors[0].log.EndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	backlogs := make([]Backlog, len(auditors))
	for i, a := range auditors {
		backlogs[i].ByTopic = make(map[string]int64)
		for _, in := range a.inputs {
			for j, topic := range append([]string{in.topic}, in.tiers...) {
				n := int64(0)
				for p := range in.partitions {
					tp := streaming.TopicPartition{Topic: topic, Partition: p}
					n += ends[tp] - max(committed[i][tp], starts[tp])
				}
				backlogs[i].ByTopic[topic] = n
				if j == 0 {
					backlogs[i].Input += n
				} else {
					backlogs[i].Retry += n
				}
			}
		}
	}
	return backlogs, nil
}
