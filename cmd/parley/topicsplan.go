package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// agentTopics are the flags that say which topics an agent needs.
type agentTopics struct {
	agent, group string
	streams      []string
	tiers        []time.Duration
	partitions   int32
	replication  int16
}

func (t *agentTopics) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.agent, "agent", "", "agent that the topics are for (required)")
	f.StringVar(&t.group, "group", "", "consumer group; default: the agent's name")
	f.StringSliceVar(&t.streams, "streams", nil, "streams that the agent subscribes to")
	f.DurationSliceVar(&t.tiers, "tiers", retry.Policy{}.WithDefaults().Tiers, "`DELAYS` of the retry topics, shortest first")
	f.Int32Var(&t.partitions, "partitions", 6, "`N` partitions for input topics that do not exist yet")
	f.Int16Var(&t.replication, "replication", -1, "`N` replicas for topics that do not exist yet; -1: the broker's default")
}

func (t *agentTopics) check(cmd *cobra.Command) error {
	var errs []error
	if t.agent == "" {
		errs = append(errs, errors.New("--agent is needed"))
	} else if err := schemas.ValidName(t.agent); err != nil {
		errs = append(errs, fmt.Errorf("--agent: %w", err))
	}
	for _, s := range t.streams {
		if err := schemas.ValidName(s); err != nil {
			errs = append(errs, fmt.Errorf("--streams: %w", err))
		}
	}
	if err := (retry.Policy{Tiers: t.tiers, Attempts: 1}).Validate(); err != nil {
		errs = append(errs, fmt.Errorf("--tiers: %w", err))
	}
	if t.partitions < 1 {
		errs = append(errs, fmt.Errorf("--partitions: %d is less than 1", t.partitions))
	}
	if t.replication < 1 && t.replication != -1 {
		errs = append(errs, fmt.Errorf("--replication: %d is neither a number of replicas nor -1", t.replication))
	}
	if err := errors.Join(errs...); err != nil {
		return usagef(cmd, "%w", err)
	}
	return nil
}

func (t *agentTopics) specs(conn *connection) []kafka.TopicSpec {
	return worker.Config{
		Agent: t.agent, Group: t.group, Namespace: conn.ns(), Streams: t.streams,
		Retry: retry.Policy{Tiers: t.tiers}, Partitions: t.partitions,
	}.TopicSpecs()
}

func newTopicsPlanCmd(a *app) *cobra.Command {
	var conn connection
	var topics agentTopics
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say which topics an agent lacks, and which are wrong",
		Long: `Compares the topics that an agent needs with those there are, and changes
nothing. The exit code is 1 if an existing topic would break a promise: the
agent would refuse to start on it.`,
		Example: "  parley topics plan --agent triage --streams quakes --tiers 1s,10s --partitions 12",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return planTopics(cmd, a, &conn, &topics, asJSON, false)
		},
	}
	conn.addLogFlags(cmd)
	topics.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func newTopicsApplyCmd(a *app) *cobra.Command {
	var conn connection
	var topics agentTopics
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Create the topics that an agent lacks",
		Long: `Creates the topics that an agent needs and that do not exist. Existing topics are
never changed; if one of them would break a promise, nothing is created and the
exit code is 1. It may be run again at any time.`,
		Example: "  parley topics apply --agent triage --streams quakes --partitions 12 --replication 3",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return planTopics(cmd, a, &conn, &topics, asJSON, true)
		},
	}
	conn.addLogFlags(cmd)
	topics.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// planReport is a plan as the commands print it.
type planReport struct {
	Create   []plannedTopic `json:"create"`
	Existing []string       `json:"existing"`
	Wrong    []wrongTopic   `json:"wrong"`
	Applied  bool           `json:"applied"`
}

type plannedTopic struct {
	Topic      string            `json:"topic"`
	Partitions int32             `json:"partitions"`
	Config     map[string]string `json:"config"`
}

type wrongTopic struct {
	Topic string `json:"topic"`
	What  string `json:"what"`
	Want  string `json:"want"`
	Have  string `json:"have"`
}

func reportPlan(p *kafka.TopicPlan, applied bool) planReport {
	r := planReport{Create: []plannedTopic{}, Existing: append([]string{}, p.Existing...), Wrong: []wrongTopic{}, Applied: applied}
	for _, c := range p.Create {
		r.Create = append(r.Create, plannedTopic{c.Name, c.Partitions, c.Config})
	}
	for _, w := range p.Wrong {
		r.Wrong = append(r.Wrong, wrongTopic{w.Topic, w.What, w.Want, w.Have})
	}
	return r
}

func (r planReport) print(w io.Writer) error {
	verb := "create"
	if r.Applied {
		verb = "created"
	}
	var rows [][]string
	for _, c := range r.Create {
		rows = append(rows, []string{verb, c.Topic, plural(int64(c.Partitions), "partition")})
	}
	for _, name := range r.Existing {
		rows = append(rows, []string{"exists", name, ""})
	}
	for _, x := range r.Wrong {
		rows = append(rows, []string{"wrong", x.Topic, fmt.Sprintf("%s is %s, but %s is needed", x.What, x.Have, x.Want)})
	}
	return table(w, []string{"STATE", "TOPIC", ""}, rows)
}

func planTopics(cmd *cobra.Command, a *app, conn *connection, topics *agentTopics, asJSON, apply bool) error {
	if err := topics.check(cmd); err != nil {
		return err
	}
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	plan, err := log.PlanTopics(ctx, topics.specs(conn))
	if err != nil {
		return err
	}
	apply = apply && len(plan.Wrong) == 0
	if apply {
		if err := log.ApplyTopics(ctx, plan, topics.replication); err != nil {
			return err
		}
	}
	report := reportPlan(plan, apply)
	if asJSON {
		err = printJSON(a.stdout, report)
	} else {
		err = report.print(a.stdout)
	}
	return errors.Join(err, plan.Err())
}
