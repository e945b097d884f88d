package retry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Plan is what a redrive would do, and what it has done so far.
type Plan struct {
	Run     string // ID of the run
	Resumed bool   // the run was begun before and did not come to its end

	ToDo     map[streaming.Reason]int // dead letters to be redriven
	Redriven map[streaming.Reason]int // by this run, in earlier starts too
	Found    int                      // redriven by a run that was killed before it could record it
	LeftOut  LeftOut

	partitions []*partition
}

// LeftOut counts the selected dead letters that are not redriven.
type LeftOut struct {
	Redriven   int `json:"redriven"`   // by another run
	Discarded  int `json:"discarded"`  // by another run
	Done       int `json:"done"`       // the message is done: a duplicate of it was handled
	Superseded int `json:"superseded"` // the message has a later dead letter
	Later      int `json:"later"`      // came after the run that is continued had begun
}

// Plan reads the logs and says what a redrive would do. It writes nothing.
func (r *Redrive) Plan(ctx context.Context) (*Plan, error) {
	plan := &Plan{ToDo: make(map[streaming.Reason]int), Redriven: make(map[streaming.Reason]int)}
	for _, input := range r.Inputs {
		parts, err := r.partitionsOf(ctx, input)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if err := p.read(ctx, r); err != nil {
				return nil, fmt.Errorf("redrive of %s/%d: %w", p.dead.Topic, p.dead.Partition, err)
			}
		}
		plan.partitions = append(plan.partitions, parts...)
	}
	for _, p := range plan.partitions {
		for id, run := range p.runs {
			if !run.ended && run.discard == r.Discard && r.Selection.equal(run.selection) && id > plan.Run { // IDs are in order of time
				plan.Run, plan.Resumed = id, true
			}
		}
	}
	if !plan.Resumed {
		plan.Run = schemas.NewID()
	}
	for _, p := range plan.partitions {
		p.judge(plan.Run, plan)
	}
	return plan, nil
}

// tier is one retry topic.
type tier struct {
	topic string
	delay time.Duration
}

func (r *Redrive) partitionsOf(ctx context.Context, input string) ([]*partition, error) {
	topics, err := r.Log.Topics(ctx, input+".")
	if err != nil {
		return nil, err
	}
	dead, ledger := streaming.DeadLetterTopic(input, r.Group), streaming.LedgerTopic(input, r.Group)
	var tiers []tier
	for name := range topics {
		middle, isTier := strings.CutPrefix(name, input+".retry-")
		middle, isOurs := strings.CutSuffix(middle, "."+r.Group)
		if delay, err := time.ParseDuration(middle); isTier && isOurs && err == nil {
			tiers = append(tiers, tier{name, delay})
		}
	}
	slices.SortFunc(tiers, func(a, b tier) int { return cmp.Compare(a.delay, b.delay) })
	switch {
	case topics[dead] == 0, topics[ledger] == 0:
		return nil, fmt.Errorf("redrive of %s: group %s has no dead-letter topic and ledger of it", input, r.Group)
	case len(tiers) == 0:
		return nil, fmt.Errorf("redrive of %s: group %s has no retry topic of it that the copies could go to", input, r.Group)
	}
	var parts []*partition
	for n := range topics[dead] {
		parts = append(parts, &partition{
			input: input, tiers: tiers,
			dead:   streaming.TopicPartition{Topic: dead, Partition: n},
			ledger: streaming.TopicPartition{Topic: ledger, Partition: n},
		})
	}
	return parts, nil
}

// scan reads what partitions hold now, each from its offset in from if that is
// later than its start.
func (r *Redrive) scan(ctx context.Context, from map[streaming.TopicPartition]int64, each func(streaming.Record), tps ...streaming.TopicPartition) error {
	var topics []string
	for _, tp := range tps {
		topics = append(topics, tp.Topic)
	}
	starts, err := r.Log.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := r.Log.EndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	var ranges []streaming.Range
	for _, tp := range tps {
		ranges = append(ranges, streaming.Range{TopicPartition: tp, From: max(from[tp], starts[tp]), To: ends[tp]})
	}
	return r.Log.Scan(ctx, ranges, each)
}
