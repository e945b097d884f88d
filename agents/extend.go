package agents

import (
	"context"
	"log/slog"
	"reflect"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// What packages that build on agents need beside what agents themselves do.

// Attached returns what a package has attached to an agent under its type, and
// attaches it at the first call: for packages that build on agents and have one
// handler of a message type for all that an author declares.
func Attached[T any](a *Agent, first func() T) T {
	of := reflect.TypeFor[T]()
	if a.attached == nil {
		a.attached = make(map[reflect.Type]any)
	}
	if a.attached[of] == nil {
		a.attached[of] = first()
	}
	return a.attached[of].(T)
}

// Invalid says that the agent cannot run: for packages that build on agents and
// find their declaration wrong.
func (a *Agent) Invalid(err error) { a.errs = append(a.errs, err) }

// Platform is what the agent runs on; nil before it does.
func (a *Agent) Platform() *Platform { return a.link.platform }

// Platform is what the agent runs on.
func (m *Message[T]) Platform() *Platform { return m.out.link.platform }

// Platform is what the requester asks on.
func (r *Requester) Platform() *Platform { return r.sender.p }

// Namespace is the first word of the platform's topics.
func (p *Platform) Namespace() streaming.Namespace { return p.cfg.Namespace }

// Metrics are what the platform counts with, or nil.
func (p *Platform) Metrics() *telemetry.Metrics { return p.cfg.Metrics }

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
