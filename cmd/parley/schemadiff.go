package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas/evolution"
)

func newSchemaDiffCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what differs between two schemas, and who reads whose messages",
		Long: `Lists what differs between two schemas: fields, types, defaults, aliases, enum
symbols, order, documentation and properties; + was added, - removed, ~ changed.
Then it says whether agents with the new one can read messages of the old one, and
the other way round. It judges nothing: the exit code is 0 whatever they are.

OLD and NEW are each a file, REVISION:PATH as for git show, or SUBJECT[@VERSION] of
the registry, by default its latest version.`,
		Example: `  parley schema diff parley.quake.Reported agents/quake/avro/reported.avsc
  parley schema diff parley.quake.Reported@1 parley.quake.Reported@2
  parley schema diff main:agents/quake/avro/reported.avsc agents/quake/avro/reported.avsc`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error { return diffSchemas(cmd, a, &conn, args, asJSON) },
	}
	conn.addRegistryFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func diffSchemas(cmd *cobra.Command, a *app, conn *connection, names []string, asJSON bool) error {
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	var versions [2]evolution.Version
	for i, name := range names {
		if versions[i], err = evolution.Open(cmd.Context(), name, reg); err != nil {
			return err
		}
	}
	d := evolution.Diff(versions[0], versions[1])
	if asJSON {
		return printJSON(a.stdout, struct {
			Old string `json:"old"`
			New string `json:"new"`
			evolution.Differences
		}{versions[0].Name, versions[1].Name, d})
	}
	lines := []string{versions[0].Name + " → " + versions[1].Name}
	if len(d.Changes) == 0 {
		lines = append(lines, "no difference")
	}
	for _, c := range d.Changes {
		lines = append(lines, c.String())
	}
	lines = append(lines, verdict("backward", "new agents can read old messages", d.Backward)...)
	lines = append(lines, verdict("forward", "old agents can read new messages", d.Forward)...)
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.stdout, safe(line)); err != nil {
			return err
		}
	}
	return nil
}

func verdict(direction, ok string, problems []evolution.Problem) []string {
	if len(problems) == 0 {
		return []string{direction + ": yes, " + ok}
	}
	lines := []string{direction + ": no"}
	for _, p := range problems {
		lines = append(lines, "  "+p.String())
	}
	return lines
}
