package kafka

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TopicSpec is a topic as a worker needs it.
type TopicSpec struct {
	Name       string
	Partitions int32  // for a topic that does not exist yet; 0: as Of
	Of         string // for a companion: its input topic, whose partition count it shares
	Compacted  bool
	Churns     bool // Compacted, and written to all the time: it is compacted soon, as it is read from its start
}

// TopicPlan is what has to be done before a worker can start.
type TopicPlan struct {
	Create   []NewTopic
	Existing []string
	Wrong    []*TopicMismatchError
}

// NewTopic is a topic to be created.
type NewTopic struct {
	Name       string
	Partitions int32
	Config     map[string]string
}

// TopicMismatchError says that an existing topic would break a promise.
type TopicMismatchError struct {
	Topic, What, Want, Have string
}

func (e *TopicMismatchError) Error() string {
	return fmt.Sprintf("topic %s: %s is %s, but %s is needed", e.Topic, e.What, e.Have, e.Want)
}

// TopicMissingError says that a topic does not exist and may not be created.
type TopicMissingError struct{ Topics []string }

func (e *TopicMissingError) Error() string {
	return fmt.Sprintf("topics do not exist: %s; create them with `parley topics apply` or start with the right to create topics", strings.Join(e.Topics, ", "))
}

// PlanTopics compares what is needed with what there is.
func (l *Log) PlanTopics(ctx context.Context, specs []TopicSpec) (*TopicPlan, error) {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	details, err := l.admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, &UnreachableError{l.cfg.Brokers, err}
	}
	partitions := make(map[string]int32) // existing or planned
	var existing []string
	for _, s := range specs {
		d, ok := details[s.Name]
		switch {
		case ok && d.Err == nil:
			partitions[s.Name] = int32(len(d.Partitions))
			existing = append(existing, s.Name)
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			if s.Of == "" {
				partitions[s.Name] = s.Partitions
			}
		default:
			return nil, fmt.Errorf("topic %s: %w", s.Name, d.Err)
		}
	}
	configs, err := l.topicConfigs(ctx, existing)
	if err != nil {
		return nil, err
	}
	for topic, cfg := range configs {
		if n, err := strconv.Atoi(cfg["max.message.bytes"]); err == nil {
			l.limits.learn(topic, n)
		}
	}
	plan := &TopicPlan{Existing: existing}
	for _, s := range specs {
		count, exists := partitions[s.Name]
		want := partitions[s.Of]
		if cfg, ok := configs[s.Name]; ok && exists {
			plan.check(s, count, want, cfg, configs[s.Of])
			continue
		}
		if s.Of != "" {
			count = want
		}
		plan.Create = append(plan.Create, NewTopic{Name: s.Name, Partitions: count, Config: l.newConfig(s, configs[s.Of])})
	}
	return plan, nil
}

func (p *TopicPlan) check(s TopicSpec, count, want int32, cfg, ofCfg map[string]string) {
	wrong := func(what, want, have string) {
		p.Wrong = append(p.Wrong, &TopicMismatchError{Topic: s.Name, What: what, Want: want, Have: have})
	}
	policy := cfg["cleanup.policy"]
	if s.Compacted {
		if policy != "compact" {
			wrong("cleanup.policy", "compact", policy)
		}
		if s.Of != "" && count != want {
			wrong("its partition count", fmt.Sprintf("%d, as %s has,", want, s.Of), strconv.Itoa(int(count)))
		}
		return
	}
	if policy != "" && policy != "delete" {
		wrong("cleanup.policy", "delete", policy)
	}
	if s.Of == "" {
		return
	}
	if count != want {
		wrong("its partition count", fmt.Sprintf("%d, as %s has,", want, s.Of), strconv.Itoa(int(count)))
	}
	for _, key := range []string{"retention.ms", "retention.bytes"} {
		if v, ok := cfg[key]; ok && v != "-1" {
			wrong(key, "-1 (nothing that waits may be deleted by age or size)", v)
		}
	}
	if have, need := recordLimit(cfg), recordLimit(ofCfg)+companionExtraBytes; have < need {
		wrong("max.message.bytes", strconv.Itoa(need)+" at least (64 KiB more than "+s.Of+")", strconv.Itoa(have))
	}
}

func (l *Log) newConfig(s TopicSpec, ofCfg map[string]string) map[string]string {
	switch {
	case s.Churns:
		return map[string]string{"cleanup.policy": "compact", "segment.bytes": "8388608", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.1"}
	case s.Compacted:
		return map[string]string{"cleanup.policy": "compact"}
	case s.Of == "":
		return map[string]string{"cleanup.policy": "delete", "max.message.bytes": strconv.Itoa(int(l.cfg.maxRecordBytes()))}
	}
	limit := int(l.cfg.maxRecordBytes())
	if ofCfg != nil {
		limit = recordLimit(ofCfg)
	}
	return map[string]string{
		"cleanup.policy":    "delete",
		"retention.ms":      "-1",
		"retention.bytes":   "-1",
		"max.message.bytes": strconv.Itoa(limit + companionExtraBytes),
	}
}

func recordLimit(cfg map[string]string) int {
	if n, err := strconv.Atoi(cfg["max.message.bytes"]); err == nil {
		return n
	}
	return defaultMaxRecordBytes
}

func (l *Log) topicConfigs(ctx context.Context, topics []string) (map[string]map[string]string, error) {
	out := make(map[string]map[string]string)
	if len(topics) == 0 {
		return out, nil
	}
	all, err := l.admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	for _, rc := range all {
		if rc.Err != nil {
			return nil, fmt.Errorf("describe topic %s: %w", rc.Name, rc.Err)
		}
		out[rc.Name] = make(map[string]string)
		for _, c := range rc.Configs {
			out[rc.Name][c.Key] = c.MaybeValue()
		}
	}
	return out, nil
}

// Err joins all that is wrong with the existing topics.
func (p *TopicPlan) Err() error {
	var errs []error
	for _, w := range p.Wrong {
		errs = append(errs, w)
	}
	return errors.Join(errs...)
}

// Missing reports the topics to be created as an error.
func (p *TopicPlan) Missing() error {
	if len(p.Create) == 0 {
		return nil
	}
	e := &TopicMissingError{}
	for _, c := range p.Create {
		e.Topics = append(e.Topics, c.Name)
	}
	sort.Strings(e.Topics)
	return e
}

// ApplyTopics creates what the plan names and waits until the brokers know it.
// Somebody else may create the same at the same time.
func (l *Log) ApplyTopics(ctx context.Context, plan *TopicPlan, replication int16) error {
	var errs []error
	var names []string
	for _, c := range plan.Create {
		config := make(map[string]*string, len(c.Config))
		for k, v := range c.Config {
			config[k] = kadm.StringPtr(v)
		}
		_, err := l.admin.CreateTopic(ctx, c.Partitions, replication, config, c.Name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("create topic %s: %w", c.Name, err))
		}
		names = append(names, c.Name)
	}
	if err := errors.Join(errs...); err != nil || len(names) == 0 {
		return err
	}
	return l.awaitTopics(ctx, names)
}

// awaitTopics waits until topics that were just created have leaders: a broker
// learns of them some time after the controller has answered.
func (l *Log) awaitTopics(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, newTopicsWait)
	defer cancel()
	for {
		details, err := l.admin.ListTopics(ctx, names...)
		if err == nil && known(details, names) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the brokers do not know the topics that were created (%s, …): %w", names[0], errors.Join(context.Cause(ctx), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

const newTopicsWait = 30 * time.Second

func known(details kadm.TopicDetails, names []string) bool {
	for _, name := range names {
		d, ok := details[name]
		if !ok || d.Err != nil || len(d.Partitions) == 0 {
			return false
		}
		for _, p := range d.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return false
			}
		}
	}
	return true
}

// PartitionCount is the number of partitions of a topic, 0 if it does not exist.
func (l *Log) PartitionCount(ctx context.Context, topic string) (int32, error) {
	details, err := l.admin.ListTopics(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	d, ok := details[topic]
	if !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
		return 0, nil
	}
	return int32(len(d.Partitions)), d.Err
}

// Topics lists the topics with that prefix and their partition counts.
func (l *Log) Topics(ctx context.Context, prefix string) (map[string]int32, error) {
	details, err := l.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	out := make(map[string]int32)
	for name, d := range details {
		if strings.HasPrefix(name, prefix) && d.Err == nil {
			out[name] = int32(len(d.Partitions))
		}
	}
	return out, nil
}
