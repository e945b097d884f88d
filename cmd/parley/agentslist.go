package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// prunedAfter is how long a lease must have run out until an instance is pruned.
const prunedAfter = time.Minute

const directoryNote = `An instance says three times per lease that it is there. One whose lease has run out,
by this machine's clock, is gone.`

func newAgentsListCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON, prune bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the agents, their instances and what they take",
		Long: `Lists each agent with its instances, load and what it takes.

` + directoryNote + ` --prune takes those out of the directory whose lease
has run out more than a minute ago.`,
		Example: "  parley agents list\n  parley agents list --prune",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := directory(cmd, a, &conn)
			if err != nil {
				return err
			}
			if prune {
				if all, err = pruneGone(cmd, a, &conn, all); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(a.stdout, struct {
					Agents []agents.Known `json:"agents"`
				}{all})
			}
			if len(all) == 0 {
				_, err := fmt.Fprintln(a.stdout, "no agent is known")
				return err
			}
			var rows [][]string
			for _, k := range all {
				rows = append(rows, agentRow(k))
			}
			return table(a.stdout, []string{"AGENT", "STATE", "INSTANCES", "VERSION", "UNSETTLED", "RUNNING", "LEASE UNTIL", "TAKES"}, rows)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&prune, "prune", false, "take instances out that are gone for more than a minute")
	return cmd
}

func liveness(live bool) string {
	if live {
		return "live"
	}
	return "gone"
}

// agentRow adds the instances of an agent up: the load of those that are live.
func agentRow(k agents.Known) []string {
	live, unsettled, running := 0, int64(0), int64(0)
	var until time.Time
	versions, takes := make(map[string]bool), make(map[string]bool)
	for _, i := range k.Instances {
		if i.Until.After(until) {
			until = i.Until
		}
		for _, c := range i.Consumes {
			takes[c.Type] = true
		}
		if !i.Live {
			continue
		}
		live, unsettled, running = live+1, unsettled+i.Unsettled, running+i.Running
		versions[i.Version] = true
	}
	for _, c := range k.Contracts {
		for _, p := range c.Consumes {
			takes[p.Type] = true
		}
	}
	at := "-"
	if !until.IsZero() {
		at = stamp(until)
	}
	list := func(of map[string]bool) string {
		return orDash(bounded(safe(strings.Join(slices.Sorted(maps.Keys(of)), ", ")), maxCell))
	}
	return []string{
		safe(k.Agent), liveness(k.Live), fmt.Sprintf("%d of %d", live, len(k.Instances)), list(versions),
		strconv.FormatInt(unsettled, 10), strconv.FormatInt(running, 10), at, list(takes),
	}
}

func newAgentsShowCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show AGENT",
		Short:   "Show an agent's instances, load, leases and contract",
		Long:    "Shows what is known of an agent: its instances with load, leases and partitions, and the\ncontract that it has published.\n\n" + directoryNote,
		Example: "  parley agents show triage\n  parley agents show triage --json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := schemas.ValidName(args[0]); err != nil {
				return usagef(cmd, "%w", err)
			}
			all, err := directory(cmd, a, &conn)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(all, func(k agents.Known) bool { return k.Agent == args[0] })
			if at < 0 {
				return fmt.Errorf("nothing is known of an agent %s; `parley agents list` shows those that are", args[0])
			}
			if asJSON {
				return printJSON(a.stdout, all[at])
			}
			return showAgent(a, all[at])
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func showAgent(a *app, k agents.Known) error {
	if _, err := fmt.Fprintf(a.stdout, "agent %s: %s\n", safe(k.Agent), liveness(k.Live)); err != nil {
		return err
	}
	var rows [][]string
	for _, i := range k.Instances {
		var owned []string
		for _, topic := range slices.Sorted(maps.Keys(i.Owned)) {
			owned = append(owned, topic+" "+strings.Trim(fmt.Sprint(i.Owned[topic]), "[]"))
		}
		rows = append(rows, []string{
			safe(i.Group), bounded(safe(i.Instance), maxCell), liveness(i.Live), orDash(bounded(safe(i.Version), maxCell)), stamp(i.Started), stamp(i.Until),
			strconv.FormatInt(i.Unsettled, 10), strconv.FormatInt(i.Running, 10), orDash(safe(strings.Join(owned, ", "))),
		})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"GROUP", "INSTANCE", "STATE", "VERSION", "STARTED", "LEASE UNTIL", "UNSETTLED", "RUNNING", "PARTITIONS"}, rows); err != nil {
			return err
		}
	}
	for _, c := range k.Contracts {
		sends := ports(c.Produces)
		if c.Undeclared {
			sends = "not declared"
		}
		if _, err := fmt.Fprintf(a.stdout, "contract of group %s\n  reads %s\n  sends %s\n", safe(c.GroupName()), orDash(ports(c.Consumes)), orDash(sends)); err != nil {
			return err
		}
	}
	return nil
}

// directory reads the topic of agents. Entries that cannot be read are named and passed
// over.
func directory(cmd *cobra.Command, a *app, conn *connection) ([]agents.Known, error) {
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
	view := agents.NewDirectoryView(schemas.NewCodec(reg), nil)
	if err := conn.readAgents(ctx, log, func(rec *streaming.Record) { view.Take(rec) }); err != nil {
		return nil, err
	}
	bad, err := view.Unreadable(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(bad)) {
		_, _ = fmt.Fprintf(a.stderr, "%s: the entry %s cannot be read and is passed over: %s\n", conn.ns().Agents(), safe(key), safe(oneLine(bad[key])))
	}
	return view.List(ctx)
}

// pruneGone takes out what is gone for long, and returns what is left.
func pruneGone(cmd *cobra.Command, a *app, conn *connection, all []agents.Known) ([]agents.Known, error) {
	var gone []agents.Instance
	before := time.Now().Add(-prunedAfter)
	for i := range all {
		all[i].Instances = slices.DeleteFunc(all[i].Instances, func(instance agents.Instance) bool {
			if instance.Until.After(before) {
				return false
			}
			gone = append(gone, instance)
			return true
		})
	}
	all = slices.DeleteFunc(all, func(k agents.Known) bool { return len(k.Instances) == 0 && len(k.Contracts) == 0 })
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	if err := prune(ctx, cmd, conn, gone); err != nil {
		return nil, err
	}
	_, err := fmt.Fprintf(a.stderr, "pruned %s\n", plural(len(gone), "instance"))
	return all, err
}

func prune(ctx context.Context, cmd *cobra.Command, conn *connection, gone []agents.Instance) error {
	if len(gone) == 0 {
		return nil
	}
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	platform, err := conn.platform(ctx, reg)
	if err != nil {
		return err
	}
	sender, err := platform.Sender("operator")
	if err != nil {
		return err
	}
	defer sender.Close()
	return sender.Prune(ctx, gone...)
}
