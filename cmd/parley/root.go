package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas/evolution"
)

// The exit codes, beside exitInterrupted.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // also of a check that could not be made, so that it is not taken for its verdict
)

// app is what the commands share.
type app struct {
	stdout io.Writer // results: what a program may read
	stderr io.Writer // progress, logs and errors
}

// run is the whole command: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(&app{stdout: stdout, stderr: stderr})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, "parley: "+oneLine(err))
	var usage *usageError
	var unchecked *evolution.Unchecked
	if errors.As(err, &usage) || errors.As(err, &unchecked) {
		return exitUsage
	}
	return exitFailure
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "parley",
		Short:         "Agents that talk over a durable log",
		Long:          "Parley is a durable event-streaming platform on Kafka on which software agents talk to each other.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%w", err) })
	root.AddCommand(
		newDemoCmd(a),
		newBrokerCmd(a),
		newNewCmd(a),
		newTopicsCmd(a),
		newSendCmd(a),
		newTailCmd(a),
		newDLQCmd(a),
		newAgentsCmd(a),
		newContractsCmd(a),
		newStateCmd(a),
		newRoutesCmd(a),
		newRouterCmd(a),
		newSchemaCmd(a),
		newOutboxCmd(a),
		newVersionCmd(a),
		newConfigTopic(a),
	)
	useConfig(root)
	return root
}

// usageError is a command line that cannot be understood: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usage error that points to the command's help.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Errorf("%w; see `%s --help`", fmt.Errorf(format, args...), cmd.CommandPath())}
}

// usageArgs makes what is wrong with a command's arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef(cmd, "%w", err)
		}
		return nil
	}
}

// oneLine is an error's text as one line: joined errors come as several.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
