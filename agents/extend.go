package agents

import (
	"context"
	"log/slog"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// What packages that build on agents need beside what agents themselves do.

// Platform is what the agent runs on.
func (m *Message[T]) Platform() *Platform { return m.out.link.platform }

// Platform is what the requester asks on.
func (r *Requester) Platform() *Platform { return r.sender.p }

// Namespace is the first word of the platform's topics.
func (p *Platform) Namespace() streaming.Namespace { return p.cfg.Namespace }

// Logger is the platform's.
func (p *Platform) Logger() *slog.Logger { return p.cfg.Logger }

// OpenLog returns a client of the platform's log, for whoever opens it to close.
func (p *Platform) OpenLog() (*kafka.Log, error) { return kafka.NewLog(p.kafka) }

// Maintains declares a compacted topic that the agent's handlers write through
// their outbox: the agent makes sure of it at its start, as of its own.
func (a *Agent) Maintains(topic func(streaming.Namespace) string) {
	a.maintains = append(a.maintains, topic)
}

// EnsureMaintained makes sure of a compacted topic that an agent maintains, as far
// as the platform may create one: for its readers, which may come first.
func (p *Platform) EnsureMaintained(ctx context.Context, log *kafka.Log, topic string) error {
	return p.ensure(ctx, log, p.maintained(topic))
}

func (p *Platform) maintained(topic string) kafka.TopicSpec {
	partitions := p.cfg.Partitions
	if partitions == 0 {
		partitions = defaultPartitions
	}
	return kafka.TopicSpec{Name: topic, Partitions: partitions, Compacted: true}
}

// defaultPartitions is worker.Config's.
const defaultPartitions = 6

// ensure makes sure of a topic, as far as the platform may create one.
func (p *Platform) ensure(ctx context.Context, log *kafka.Log, spec kafka.TopicSpec) error {
	plan, err := log.PlanTopics(ctx, []kafka.TopicSpec{spec})
	if err != nil {
		return err
	}
	if err := plan.Err(); err != nil {
		return err
	}
	if p.cfg.CheckTopicsOnly {
		return plan.Missing()
	}
	return log.ApplyTopics(ctx, plan, p.replication())
}
