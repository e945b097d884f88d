package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
)

func newStateCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Show what stands on a board",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newStateReader(a, &cobra.Command{
			Use:   "list BOARD",
			Short: "Show all keys of a board, with versions and values",
			Long: `Shows the keys of a board that have a value, in their order, each with its
version and its value as JSON. Records that cannot be read are named on standard
error; their keys are shown as they were before.`,
			Example: "  parley state list prices\n  parley state list prices --json",
			Args:    usageArgs(cobra.ExactArgs(1)),
		}, listState),
		newStateReader(a, &cobra.Command{
			Use:     "get BOARD KEY",
			Short:   "Show the value of a key",
			Long:    "Shows the value of a key of a board as JSON; with --json its version too.",
			Example: "  parley state get prices anvil\n  parley state get prices anvil --json",
			Args:    usageArgs(cobra.ExactArgs(2)),
		}, getState),
		newStateReader(a, &cobra.Command{
			Use:   "watch BOARD",
			Short: "Show the changes of a board as they come",
			Long: `Shows what changes on a board from now on, until it is interrupted: what has
become of a key (added, changed or removed), the key, its version and its value as
JSON. Where changes come faster than they are shown, versions of a key are left
out, the latest never.`,
			Example: "  parley state watch prices\n  parley state watch prices --json",
			Args:    usageArgs(cobra.ExactArgs(1)),
		}, watchState),
	)
	return cmd
}

// stateEntry is what --json prints of a key.
type stateEntry struct {
	Change  board.ChangeKind `json:"change,omitempty"`
	Key     string           `json:"key"`
	Version int64            `json:"version"`
	Value   any              `json:"value"`
}

func newStateReader(a *app, cmd *cobra.Command, show func(cmd *cobra.Command, a *app, v *board.View[any], args []string, asJSON bool) error) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := schemas.ValidName(args[0]); err != nil {
			return usagef(cmd, "%w", err)
		}
		v, err := openBoard(cmd, &conn, args[0])
		if err != nil {
			return err
		}
		defer v.Close()
		return show(cmd, a, v, args, asJSON)
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for each key")
	return cmd
}

// openBoard reads a board that exists.
func openBoard(cmd *cobra.Command, conn *connection, name string) (*board.View[any], error) {
	log, err := conn.open(cmd)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	topic := conn.ns().State(name)
	n, err := log.PartitionCount(ctx, topic)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("there is no board %s: topic %s does not exist", name, topic)
	}
	platform, err := agents.Connect(ctx, agents.PlatformConfig{
		Brokers: conn.brokers, Schemas: reg, Namespace: conn.ns(), MaxUnpackedBytes: conn.maxUnpacked, CheckTopicsOnly: true,
	})
	if err != nil {
		return nil, err
	}
	return board.OpenAny(ctx, platform, name)
}

func listState(_ *cobra.Command, a *app, v *board.View[any], _ []string, asJSON bool) error {
	for _, bad := range v.Unreadable() {
		_, _ = fmt.Fprintln(a.stderr, oneLine(bad))
	}
	var entries []stateEntry
	for key, e := range v.All() {
		entries = append(entries, stateEntry{Key: key, Version: e.Version, Value: e.Value})
	}
	slices.SortFunc(entries, func(a, b stateEntry) int { return cmp.Compare(a.Key, b.Key) })
	var rows [][]string
	for _, e := range entries {
		if asJSON {
			if err := printJSON(a.stdout, e); err != nil {
				return err
			}
			continue
		}
		value, err := json.Marshal(e.Value)
		if err != nil {
			return err
		}
		rows = append(rows, []string{safe(e.Key), fmt.Sprint(e.Version), safe(bounded(string(value), maxCell))})
	}
	switch {
	case asJSON:
		return nil
	case len(rows) == 0:
		_, err := fmt.Fprintln(a.stdout, "no key has a value")
		return err
	}
	return table(a.stdout, []string{"KEY", "VERSION", "VALUE"}, rows)
}

func getState(_ *cobra.Command, a *app, v *board.View[any], args []string, asJSON bool) error {
	name, key := args[0], args[1]
	value, version, ok := v.Get(key)
	for _, bad := range v.Unreadable() {
		if bad.Key == key {
			_, _ = fmt.Fprintln(a.stderr, oneLine(bad))
		}
	}
	switch {
	case ok && asJSON:
		return printJSON(a.stdout, stateEntry{Key: key, Version: version, Value: value})
	case ok:
		return printJSON(a.stdout, value)
	case version > 0:
		return fmt.Errorf("key %q of board %s was deleted, as version %d", key, name, version)
	}
	return fmt.Errorf("key %q of board %s has no value; `parley state list %s` shows those that have", key, name, name)
}

func watchState(cmd *cobra.Command, a *app, v *board.View[any], _ []string, asJSON bool) error {
	for c := range v.Watch(cmd.Context()) {
		if err := printChange(a.stdout, c, asJSON); err != nil {
			return err
		}
	}
	if cmd.Context().Err() != nil {
		return nil
	}
	return v.Err()
}

func printChange(w io.Writer, c board.Change[any], asJSON bool) error {
	if asJSON {
		return printJSON(w, stateEntry{c.Kind, c.Key, c.Version, c.Value})
	}
	value, err := json.Marshal(c.Value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%-7s  %s  %d  %s\n", c.Kind, safe(c.Key), c.Version, safe(string(value)))
	return err
}
