package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/schemas/evolution"
)

// schemaCheckFlags are those of parley schema check.
type schemaCheckFlags struct {
	conn       connection
	againstGit string
	level      string
	asJSON     bool
}

func newSchemaCheckCmd(a *app) *cobra.Command {
	var flags schemaCheckFlags
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Check changed schemas before they are deployed",
		Long: `Checks the record of each .avsc file against older versions of it: whether new
agents can read old messages, and old agents new ones, as the level demands.

Older versions are those of the registry, at the level that it has for the subject:
the latest one, or all of them where the level is transitive. With --against-git
they are the files at a revision, one for each: that of the same path, else the one
in the same folder that has the record. The registry is not asked then.

Besides, each file has to hold a record that names its message type, the type of a
record must not change, and no record may stand in two files.

Levels: NONE, BACKWARD (new agents read old messages), FORWARD (old agents read new
messages) and FULL (both), each but NONE also with _TRANSITIVE.

The exit code is 0 where all may be deployed, 1 where one must not be, and 2 where
that cannot be said.`,
		Example: `  parley schema check agents/quake/avro/*.avsc --registry http://registry:8081
  parley schema check agents/quake/avro/*.avsc --against-git main
  parley schema check agents/quake/avro/reported.avsc --against-git v1.4.0 --level BACKWARD`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return checkSchemas(cmd, a, &flags, args) },
	}
	flags.conn.addRegistryFlags(cmd)
	cmd.Flags().StringVar(&flags.againstGit, "against-git", "", "compare with the files at this git `REVISION`, not with the registry")
	cmd.Flags().StringVar(&flags.level, "level", "", "compatibility `LEVEL`; default: the registry's for each subject, with --against-git FULL_TRANSITIVE")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print one JSON object")
	lineOnly(cmd.Flags(), "against-git")
	return cmd
}

func checkSchemas(cmd *cobra.Command, a *app, flags *schemaCheckFlags, files []string) error {
	var level schemas.Level
	if flags.level != "" {
		var err error
		if level, err = schemas.ParseLevel(flags.level); err != nil {
			return usagef(cmd, "--level: %w", err)
		}
	}
	if cmd.Flags().Changed("against-git") && flags.againstGit == "" {
		return usagef(cmd, "--against-git names no revision")
	}
	source := evolution.FromGit(flags.againstGit, level)
	if flags.againstGit == "" {
		reg, err := flags.conn.schemas(cmd)
		if err != nil {
			return err
		}
		defer reg.Close()
		source = evolution.FromRegistry(reg, level)
	}
	reports, err := evolution.Check(cmd.Context(), source, files)
	if err != nil {
		return err
	}
	refused := 0
	for _, r := range reports {
		if len(r.Problems) > 0 {
			refused++
		}
	}
	if err := printChecks(a, flags.asJSON, refused == 0, reports); err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%d of %s must not be deployed", refused, plural(len(reports), "schema"))
	}
	return nil
}

func printChecks(a *app, asJSON, compatible bool, reports []*evolution.Report) error {
	if asJSON {
		return printJSON(a.stdout, struct {
			Compatible bool                `json:"compatible"`
			Checks     []*evolution.Report `json:"checks"`
		}{compatible, reports})
	}
	var b strings.Builder
	for _, r := range reports {
		verdict := "ok"
		if n := len(r.Problems); n > 0 {
			verdict = plural(n, "problem")
		}
		for _, s := range []string{r.File, r.Subject, verdict, r.Compared} {
			if s != "" {
				b.WriteString(safe(s) + ": ")
			}
		}
		line := strings.TrimSuffix(b.String(), ": ")
		b.Reset()
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
		for _, p := range r.Problems {
			if _, err := fmt.Fprintln(a.stdout, "  "+safe(p.String())); err != nil {
				return err
			}
		}
		if r.NextType != "" {
			if _, err := fmt.Fprintf(a.stdout, "  a breaking change needs a new message type: name it %s, in a record of its own, and keep this one\n", safe(r.NextType)); err != nil {
				return err
			}
		}
	}
	return nil
}
