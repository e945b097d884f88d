package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const (
	envPrefix         = "PARLEY_"
	defaultConfigFile = "parley.yaml"
	configFlag        = "config"
	lineOnlyMark      = "parley_line_only"
)

const configHelp = `Each flag of each command can be set in four places. The first that has it wins:

  1. the command line      --brokers kafka-1:9092,kafka-2:9092
  2. the environment       PARLEY_BROKERS=kafka-1:9092,kafka-2:9092
  3. the configuration file
       brokers: [kafka-1:9092, kafka-2:9092]
       registry: http://registry:8081
  4. the default that --help shows

The environment's names are PARLEY_ and the flag's name in capitals, with _ for -:
--registry-listen is PARLEY_REGISTRY_LISTEN. An empty variable counts as not set.

The file is YAML, one flag per line under the flag's own name, the same file for
all commands. It is the one that --config or PARLEY_CONFIG names, else parley.yaml
in the current folder if there is one. A key that is no flag is an error.

A few flags are for the command line alone, because they say what one call does:
send --id and send --stop, --group and --reason of agents, those of dlq redrive
that select, and schema check --against-git.`

// newConfigTopic is the help topic "parley help configuration".
func newConfigTopic(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "configuration",
		Short: "How flags, environment and file work together",
		Long:  configHelp,
	}
}

// useConfig gives each command below root its configuration by environment and
// file.
func useConfig(root *cobra.Command) {
	root.PersistentFlags().String(configFlag, "", "configuration `FILE`; default: "+defaultConfigFile+" if there is one (see parley help configuration)")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return configure(cmd, os.LookupEnv)
	}
}

// lineOnly keeps flags of a command out of environment and file.
func lineOnly(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := flags.SetAnnotation(name, lineOnlyMark, []string{"true"}); err != nil {
			panic(err) // a flag that does not exist
		}
	}
}

// configurable says whether environment and file may set a flag.
func configurable(f *pflag.Flag) bool {
	return f.Name != configFlag && f.Name != "help" && f.Annotations[lineOnlyMark] == nil
}

// configure sets the flags of cmd that the command line did not, and reports
// all that is wrong at once.
func configure(cmd *cobra.Command, env func(string) (string, bool)) error {
	if withoutConfig(cmd) {
		return nil
	}
	path, file, err := readConfig(cmd, env)
	if err != nil {
		return usagef(cmd, "%w", err)
	}
	errs := []error{unknownKeys(cmd.Root(), path, file)}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || !configurable(f) {
			return
		}
		from := envName(f.Name)
		value, ok := env(from)
		if !ok || value == "" {
			from = path + ": " + f.Name
			value, ok = file[f.Name]
		}
		if !ok {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", from, err))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return usagef(cmd, "%w", err)
	}
	return nil
}

// withoutConfig says whether a command has to work whatever the configuration
// is: a shell asks for completions while it is being written.
func withoutConfig(cmd *cobra.Command) bool {
	for c := cmd; c.HasParent(); c = c.Parent() {
		switch c.Name() {
		case "completion", "help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return false
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readConfig returns the file's values as flags take them.
func readConfig(cmd *cobra.Command, env func(string) (string, bool)) (path string, values map[string]string, err error) {
	path, _ = cmd.Flags().GetString(configFlag)
	if path == "" {
		path, _ = env(envName(configFlag))
	}
	named := path != ""
	if !named {
		path = defaultConfigFile
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return path, nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("the configuration file cannot be read: %w", err)
	}
	values, err = parseConfig(text)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, err)
	}
	return path, values, nil
}

func parseConfig(text []byte) (map[string]string, error) {
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return nil, fmt.Errorf("it is not YAML of the form `flag: value`: %w", err)
	}
	values := make(map[string]string, len(nodes))
	var errs []error
	for key, node := range nodes {
		var parts []string
		switch node.Kind {
		case yaml.ScalarNode:
			parts = []string{scalar(&node)}
		case yaml.SequenceNode:
			for _, item := range node.Content {
				if item.Kind != yaml.ScalarNode {
					errs = append(errs, fmt.Errorf("line %d: the list %s may hold plain values only", item.Line, key))
				}
				parts = append(parts, scalar(item))
			}
		default:
			errs = append(errs, fmt.Errorf("line %d: %s has to be a plain value or a list of them", node.Line, key))
		}
		values[key] = strings.Join(parts, ",")
	}
	return values, errors.Join(errs...)
}

// scalar is a value as it is written, so that 1s and 0755 stay what they are.
func scalar(n *yaml.Node) string {
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// unknownKeys reports the file's keys that are no flag of any command.
func unknownKeys(root *cobra.Command, path string, file map[string]string) error {
	known := make(map[string]bool)
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, flags := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			flags.VisitAll(func(f *pflag.Flag) {
				if configurable(f) {
					known[f.Name] = true
				}
			})
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	var errs []error
	for key := range file {
		if !known[key] {
			errs = append(errs, fmt.Errorf("%s: there is no setting %q; the nearest is %s", path, key, nearest(key, known)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func nearest(key string, known map[string]bool) string {
	best, least := "", -1
	for name := range known {
		d := distance(key, name)
		if least < 0 || d < least || d == least && name < best {
			best, least = name, d
		}
	}
	return best
}

// distance is the edit distance of Levenshtein, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
