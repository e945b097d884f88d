package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

func newRoutesCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Where messages go, as data: apply, list, test, roll back",
		Long: `Routes say which messages go to which agents and streams. All of them are one
set with a version, which is applied as a whole and live at every node within a
second. See docs/routes.md.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRoutesApplyCmd(a), newRoutesListCmd(a), newRoutesTestCmd(a), newRoutesRollbackCmd(a), newRoutesHistoryCmd(a))
	return cmd
}

// routing is an operator at work on the routes.
type routing struct {
	log    *kafka.Log
	reg    *schemas.Registry
	sender *agents.Sender
	ctx    context.Context
	close  func()
}

func (c *connection) routing(cmd *cobra.Command) (*routing, error) {
	r := &routing{close: func() {}}
	closing := func(f func()) {
		before := r.close
		r.close = func() { f(); before() }
	}
	fail := func(err error) (*routing, error) { r.close(); return nil, err }
	var err error
	if r.log, err = c.open(cmd); err != nil {
		return fail(err)
	}
	closing(r.log.Close)
	if r.reg, err = c.schemas(cmd); err != nil {
		return fail(err)
	}
	closing(r.reg.Close)
	var cancel context.CancelFunc
	r.ctx, cancel = c.bounded(cmd)
	closing(cancel)
	platform, err := agents.Connect(r.ctx, agents.PlatformConfig{
		Brokers: c.brokers, Compression: kafka.Compression(c.compression), MaxUnpackedBytes: c.maxUnpacked, Schemas: r.reg, Namespace: c.ns(),
	})
	if err != nil {
		return fail(err)
	}
	if r.sender, err = platform.Sender("operator"); err != nil {
		return fail(err)
	}
	closing(r.sender.Close)
	return r, nil
}

// history lists the sets that are kept; without the topic there are none.
func (r *routing) history(conn *connection) ([]routes.Entry, error) {
	n, err := r.log.PartitionCount(r.ctx, conn.ns().Routes())
	if err != nil || n == 0 {
		return nil, err
	}
	return r.sender.RouteHistory(r.ctx)
}

// inForce is the latest set that can be read, or an empty one.
func (r *routing) inForce(conn *connection) (routesFile, error) {
	history, err := r.history(conn)
	if err != nil {
		return routesFile{}, err
	}
	for _, e := range history {
		if e.Set != nil {
			return fileOf(e.Set, e.Time), nil
		}
	}
	return routesFile{Routes: []routeDef{}}, nil
}

// appliedReport is what --json prints of a set that was applied.
type appliedReport struct {
	Version int64 `json:"version"`
	Routes  int   `json:"routes"`
}

func (a *app) applied(report appliedReport, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, report)
	}
	_, err := fmt.Fprintf(a.stdout, "version %d is in force: %s\n", report.Version, plural(report.Routes, "route"))
	return err
}

func newRoutesApplyCmd(a *app) *cobra.Command {
	var conn connection
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a set of routes in force, in place of the one before",
		Long: `Puts the routes of a file, YAML or JSON, in force, all at once and in place of the
ones before; - is the standard input. They are refused, and nothing changes,
where a match does not fit the latest schema of a type that its route names,
where two routes have one name, and where an agent or a stream does not exist.
Where somebody else applies routes at the same time, one of both is told so.`,
		Example: "  parley routes apply routes.yaml --reason \"a second analyst\"",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readRoutes(cmd, args[0])
			if err != nil {
				return err
			}
			r, err := conn.routing(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			if err := know(cmd, r.reg, schemas.RouteSet{}); err != nil {
				return err
			}
			if reason == "" {
				reason = f.Reason
			}
			version, err := r.sender.ApplyRoutes(r.ctx, f.defs(), operator(), reason)
			if err != nil {
				return err
			}
			return a.applied(appliedReport{version, len(f.Routes)}, asJSON)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people; default: the file's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	lineOnly(cmd.Flags(), "reason")
	return cmd
}

func readRoutes(cmd *cobra.Command, path string) (routesFile, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return routesFile{}, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	text, err := readBounded(in, path)
	if err != nil {
		return routesFile{}, err
	}
	f, err := parseRoutes(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return f, err
}

func newRoutesListCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the routes in force, in the order in which they are looked at",
		Long:    "Lists the routes in force. What --json prints can be applied again.",
		Example: "  parley routes list --json > routes.json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := conn.routing(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			f, err := r.inForce(&conn)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, f)
			}
			if f.Version == 0 {
				_, err := fmt.Fprintln(a.stdout, "there are no routes")
				return err
			}
			_, _ = fmt.Fprintf(a.stdout, "version %d, %s by %s%s\n", f.Version, stamp(f.At), orDash(bounded(f.By, maxCell)), because(f.Reason))
			var rows [][]string
			for _, d := range inOrder(f.Routes) {
				var to []string
				for _, dest := range d.Destinations {
					text := dest.To
					if d.Mode == "weighted" {
						text += "*" + strconv.Itoa(int(dest.Weight))
					}
					to = append(to, text)
				}
				rows = append(rows, []string{
					safe(d.Name), strconv.Itoa(int(d.Priority)), orDash(strings.Join(d.Types, " ")), safe(d.Mode), safe(strings.Join(to, " ")), orDash(bounded(safe(d.Match), 60)),
				})
			}
			return table(a.stdout, []string{"ROUTE", "PRIORITY", "TYPES", "MODE", "DESTINATIONS", "MATCH"}, rows)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + bounded(safe(reason), maxCell)
}

func newRoutesRollbackCmd(a *app) *cobra.Command {
	var conn connection
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "rollback VERSION",
		Short:   "Apply the routes of an older version again, as a new version",
		Long:    "Applies the routes of an older version as a new one, with the checks of apply.",
		Example: "  parley routes rollback 6 --reason \"the analyst is gone\"",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || old < 1 {
				return usagef(cmd, "%q is not a version", args[0])
			}
			r, err := conn.routing(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			if reason == "" {
				reason = fmt.Sprintf("back to version %d", old)
			}
			version, err := r.sender.RollbackRoutes(r.ctx, old, operator(), reason)
			if err != nil {
				return err
			}
			f, err := r.inForce(&conn)
			if err != nil {
				return err
			}
			return a.applied(appliedReport{version, len(f.Routes)}, asJSON)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	lineOnly(cmd.Flags(), "reason")
	return cmd
}

// versionReport is what --json prints of a version.
type versionReport struct {
	Version int64     `json:"version"`
	At      time.Time `json:"at"`
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Routes  int       `json:"routes"`
	Broken  bool      `json:"broken,omitempty"` // it cannot be read
}

func newRoutesHistoryCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "history",
		Short:   "List the versions that are kept, the latest first",
		Example: "  parley routes history",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := conn.routing(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			history, err := r.history(&conn)
			if err != nil {
				return err
			}
			reports, rows := []versionReport{}, [][]string(nil)
			for _, e := range history {
				v := versionReport{Version: e.Version, At: e.Time.UTC(), Broken: e.Set == nil}
				count := "cannot be read"
				if e.Set != nil {
					v.By, v.Reason, v.Routes = e.Set.By, e.Set.Reason, len(e.Set.Routes)
					count = strconv.Itoa(v.Routes)
				}
				reports = append(reports, v)
				rows = append(rows, []string{strconv.FormatInt(v.Version, 10), stamp(v.At), count, orDash(bounded(v.By, maxCell)), orDash(bounded(v.Reason, maxCell))})
			}
			if asJSON {
				return printJSON(a.stdout, struct {
					Versions []versionReport `json:"versions"`
				}{reports})
			}
			if len(rows) == 0 {
				_, err := fmt.Fprintln(a.stdout, "there are no routes")
				return err
			}
			return table(a.stdout, []string{"VERSION", "AT", "ROUTES", "BY", "REASON"}, rows)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
