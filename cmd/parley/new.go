package main

import (
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/cmd/parley/scaffold"
)

func newNewCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Write a first agent to build on",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNewAgentCmd(a))
	return cmd
}

func newNewAgentCmd(a *app) *cobra.Command {
	var dir, module string
	cmd := &cobra.Command{
		Use:   "agent NAME",
		Short: "Write a first agent, with its messages and its test",
		Long: `Writes a folder with a program that runs one agent: a handler that answers a
question, the Avro schemas of both messages with their Go types, and a test that
needs no broker. If the folder is in no Go module, it becomes one. Nothing is
overwritten. It says what to do next.`,
		Example: `  parley new agent greeter
  parley new agent greeter --dir agents/greeter --module example.com/greeter`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := scaffold.ValidName(name); err != nil {
				return usagef(cmd, "%w", err)
			}
			if dir == "" {
				dir = name
			}
			build, _ := debug.ReadBuildInfo()
			first := scaffold.Agent{Name: name, Version: required(readVersion(build).Version)}
			within, err := scaffold.ModuleOf(dir)
			switch {
			case err != nil:
				return err
			case within != "" && module != "":
				return usagef(cmd, "--module: %s is in the module of %s: leave it out", dir, within)
			case within == "":
				first.Module = module
				if module == "" {
					first.Module = name
				}
				if err := scaffold.ValidModule(first.Module); err != nil {
					return usagef(cmd, "--module: %w", err)
				}
			}
			return newAgent(a, dir, first)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder to write; default: the agent's name")
	cmd.Flags().StringVar(&module, "module", "", "path of the new Go module, where the folder is in none; default: the agent's name")
	lineOnly(cmd.Flags(), "dir", "module")
	return cmd
}

// newAgent writes an agent's files and says what comes next.
func newAgent(a *app, dir string, first scaffold.Agent) error {
	files, err := first.Files()
	if err != nil {
		return err
	}
	if err := scaffold.Write(dir, files); err != nil {
		return err
	}
	var out strings.Builder
	for _, f := range files {
		fmt.Fprintln(&out, filepath.Join(dir, filepath.FromSlash(f.Path)))
	}
	next := "go mod tidy"
	if first.Module == "" {
		version := first.Version
		if version == "" {
			version = "latest"
		}
		next = "go get -tool " + scaffold.Parley + "/schemas/avrogen@" + version + " && " + next
	}
	if first.Version == "" {
		fmt.Fprintf(&out, "This parley was built without a version. To use its source: go mod edit -replace %s=FOLDER\n", scaffold.Parley)
	}
	fmt.Fprintf(&out, "Next: cd %s && %s && go test .\n", quoted(dir), next)
	_, err = fmt.Fprint(a.stdout, out.String())
	return err
}

// required is a version that go.mod can name, or empty.
func required(version string) string {
	version, _, _ = strings.Cut(version, "+") // +dirty: the nearest that others can have
	if !strings.HasPrefix(version, "v") {
		return ""
	}
	return version
}

// quoted is a folder's name in a line for a shell.
func quoted(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("/._-+~:@%", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}
