package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

func newAgentsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "List agents, pause and resume them",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newAgentsControlCmd(a, true, &cobra.Command{
			Use:   "pause AGENT",
			Short: "Make all instances of an agent start no handler",
			Long: `Makes all instances of an agent start no handler, wherever they run, until
` + "`parley agents resume`" + `: also those that start later. What runs ends. Messages wait
in the log; offsets and membership of the group are kept.`,
			Example: `  parley agents pause triage --reason "the model's bill"`,
		}),
		newAgentsControlCmd(a, false, &cobra.Command{
			Use:     "resume AGENT",
			Short:   "Let a paused agent go on",
			Long:    "Lets all instances of a paused agent start handlers again.",
			Example: "  parley agents resume triage",
		}),
		newAgentsStatusCmd(a),
		newAgentsListCmd(a),
		newAgentsShowCmd(a),
	)
	return cmd
}

// agentName are an agent's name and its group.
type agentName struct{ agent, group string }

func (n *agentName) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.group, "group", "", "consumer group; default: the agent's name")
}

// take reads the name from the command line.
func (n *agentName) take(cmd *cobra.Command, args []string) error {
	n.agent = args[0]
	if err := schemas.ValidName(n.agent); err != nil {
		return usagef(cmd, "%w", err)
	}
	if n.group == "" {
		n.group = n.agent
	}
	return nil
}

// controlReport is what --json prints of one group.
type controlReport struct {
	Group  string    `json:"group"`
	Paused bool      `json:"paused"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

func (r controlReport) state() string {
	if r.Paused {
		return "paused"
	}
	return "not paused"
}

func newAgentsControlCmd(a *app, pause bool, cmd *cobra.Command) *cobra.Command {
	var conn connection
	var name agentName
	var reason string
	var asJSON bool
	cmd.Args = usageArgs(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := name.take(cmd, args); err != nil {
			return err
		}
		report := controlReport{Group: name.group, Paused: pause, Reason: reason, By: operator()}
		if err := control(cmd, &conn, name, report); err != nil {
			return err
		}
		if asJSON {
			return printJSON(a.stdout, report)
		}
		verb := "resumed"
		if pause {
			verb = "paused"
		}
		_, err := fmt.Fprintf(a.stdout, "%s agent %s\n", verb, name.agent)
		return err
	}
	conn.addFlags(cmd)
	name.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "why, for people")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	lineOnly(f, "reason", "group")
	return cmd
}

// control writes what an operator wants of an agent that exists.
func control(cmd *cobra.Command, conn *connection, name agentName, want controlReport) error {
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	if _, err := conn.existing(ctx, log, conn.ns().Inbox(name.agent)); err != nil {
		return err
	}
	if err := know(cmd, reg, schemas.AgentControl{}); err != nil {
		return err
	}
	platform, err := conn.platform(ctx, reg)
	if err != nil {
		return err
	}
	sender, err := platform.Sender("operator")
	if err != nil {
		return err
	}
	defer sender.Close()
	if want.Paused {
		return sender.Pause(ctx, want.Group, want.By, want.Reason)
	}
	return sender.Resume(ctx, want.Group, want.By, want.Reason)
}

func newAgentsStatusCmd(a *app) *cobra.Command {
	var conn connection
	var name agentName
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [AGENT]",
		Short: "Say which agents are paused, since when, by whom and why",
		Long: `Says what operators want of an agent, or of all that they have paused or resumed
before. It does not ask the instances: parley_paused tells what each does.`,
		Example: "  parley agents status\n  parley agents status triage --json",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := name.take(cmd, args); err != nil {
					return err
				}
			} else if name.group != "" {
				return usagef(cmd, "--group goes with an agent's name")
			}
			reports, err := status(cmd, a, &conn, name)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, struct {
					Agents []controlReport `json:"agents"`
				}{reports})
			}
			if len(reports) == 0 {
				_, err := fmt.Fprintln(a.stdout, "no agent is paused")
				return err
			}
			var rows [][]string
			for _, r := range reports {
				since := "-"
				if !r.Since.IsZero() {
					since = stamp(r.Since)
				}
				rows = append(rows, []string{safe(r.Group), r.state(), since, orDash(bounded(r.By, maxCell)), orDash(bounded(r.Reason, maxCell))})
			}
			return table(a.stdout, []string{"GROUP", "STATE", "SINCE", "BY", "REASON"}, rows)
		},
	}
	conn.addFlags(cmd)
	name.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	lineOnly(cmd.Flags(), "group")
	return cmd
}

// status reads the topic of agents. Records that cannot be read are named, and
// count no more than they do for the agents.
func status(cmd *cobra.Command, a *app, conn *connection, name agentName) ([]controlReport, error) {
	log, err := conn.open(cmd)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return nil, err
	}
	defer reg.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	reports := make(map[string]controlReport)
	if name.agent != "" {
		if _, err := conn.existing(ctx, log, conn.ns().Inbox(name.agent)); err != nil {
			return nil, err
		}
		reports[name.group] = controlReport{Group: name.group}
	}
	codec := schemas.NewCodec(reg)
	var failed error
	err = conn.readAgents(ctx, log, func(rec *streaming.Record) {
		c, ok, err := schemas.ParseControl(cmd.Context(), codec, rec)
		_, unreadable := schemas.ErrorReason(err)
		switch {
		case !ok || name.agent != "" && c.Group != name.group:
		case unreadable:
			_, _ = fmt.Fprintf(a.stderr, "%s/%d/%d cannot be read and is skipped: %s\n", rec.Topic, rec.Partition, rec.Offset, oneLine(err))
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			reports[c.Group] = controlReport{Group: c.Group, Paused: c.Paused, Reason: c.Reason, By: c.By, Since: c.Since.UTC()}
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	list := make([]controlReport, 0, len(reports))
	for _, group := range slices.Sorted(maps.Keys(reports)) {
		list = append(list, reports[group])
	}
	return list, nil
}

// readAgents hands over what the topic of agents holds; it may not exist yet.
func (c *connection) readAgents(ctx context.Context, log *kafka.Log, each func(*streaming.Record)) error {
	topic := c.ns().Agents()
	n, err := log.PartitionCount(ctx, topic)
	if err != nil || n == 0 {
		return err
	}
	ranges, err := wholeLog(ctx, log, []string{topic})
	if err != nil {
		return err
	}
	return c.scan(ctx, log, ranges, func(rec streaming.Record) { each(&rec) })
}
