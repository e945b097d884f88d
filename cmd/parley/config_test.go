package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// configured runs a command with the settings and returns its flags' values.
func configured(t *testing.T, file string, env map[string]string, args ...string) (map[string]string, error) {
	t.Helper()
	got := make(map[string]string)
	root := &cobra.Command{Use: "parley", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().String(configFlag, "", "")
	sub := &cobra.Command{Use: "work", RunE: func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"brokers", "partitions", "registry-listen", "tiers", "once"} {
			got[name] = cmd.Flags().Lookup(name).Value.String()
		}
		return nil
	}}
	f := sub.Flags()
	f.StringSlice("brokers", []string{"default:1"}, "")
	f.Int("partitions", 6, "")
	f.String("registry-listen", "default:2", "")
	f.DurationSlice("tiers", nil, "")
	f.String("once", "", "")
	lineOnly(f, "once")
	other := &cobra.Command{Use: "other", RunE: func(*cobra.Command, []string) error { return nil }}
	other.Flags().String("replication", "", "")
	root.AddCommand(sub, other)
	if file != "" {
		path := filepath.Join(t.TempDir(), "settings.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return configure(cmd, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	}
	root.SetArgs(append([]string{"work"}, args...))
	return got, root.Execute()
}

func TestConfigurationOrder(t *testing.T) {
	t.Parallel()
	const file = "brokers: [file-1:1, file-2:1]\npartitions: 3\nregistry-listen: file:2\ntiers: [1s, 10s]\nreplication: 3\n"
	for _, c := range []struct {
		name, file string
		env        map[string]string
		args       []string
		want       map[string]string
	}{
		{"default", "", nil, nil, map[string]string{"brokers": "[default:1]", "partitions": "6", "registry-listen": "default:2", "tiers": "[]"}},
		{"file", file, nil, nil, map[string]string{"brokers": "[file-1:1,file-2:1]", "partitions": "3", "registry-listen": "file:2", "tiers": "[1s,10s]"}},
		{
			"environment over file", file,
			map[string]string{"PARLEY_BROKERS": "env-1:1,env-2:1", "PARLEY_REGISTRY_LISTEN": "env:2"},
			nil,
			map[string]string{"brokers": "[env-1:1,env-2:1]", "partitions": "3", "registry-listen": "env:2"},
		},
		{
			"flag over environment", file,
			map[string]string{"PARLEY_BROKERS": "env:1", "PARLEY_PARTITIONS": "4"},
			[]string{"--brokers", "flag:1"},
			map[string]string{"brokers": "[flag:1]", "partitions": "4"},
		},
		{"an empty variable is not set", file, map[string]string{"PARLEY_PARTITIONS": ""}, nil, map[string]string{"partitions": "3"}},
		{"for the command line alone", "", map[string]string{"PARLEY_ONCE": "x"}, nil, map[string]string{"once": ""}},
		{"an empty file", "# nothing\n", nil, nil, map[string]string{"partitions": "6"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := configured(t, c.file, c.env, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s is %s, want %s", name, got[name], want)
				}
			}
		})
	}
}

func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		env        map[string]string
		want       []string
	}{
		{
			"unknown keys", "partition: 3\nreplicaton: 1\n", nil,
			[]string{`there is no setting "partition"; the nearest is partitions`, `there is no setting "replicaton"; the nearest is replication`},
		},
		{"line only in the file", "once: x\n", nil, []string{`there is no setting "once"`}},
		{"a value of the wrong type in the file", "partitions: many\n", nil, []string{`settings.yaml: partitions: invalid argument "many"`}},
		{"a value of the wrong type in the environment", "", map[string]string{"PARLEY_PARTITIONS": "many"}, []string{`PARLEY_PARTITIONS: invalid argument "many"`}},
		{"nested", "brokers:\n  one: x\n", nil, []string{"line 2: brokers has to be a plain value or a list of them"}},
		{"a list of lists", "brokers: [[a:1]]\n", nil, []string{"the list brokers may hold plain values only"}},
		{"twice", "partitions: 1\npartitions: 2\n", nil, []string{"already defined"}},
		{"no YAML", "partitions = 3\n", nil, []string{"it is not YAML of the form `flag: value`"}},
		{"a file that does not exist", "", map[string]string{"PARLEY_CONFIG": "nowhere.yaml"}, []string{"the configuration file cannot be read", "nowhere.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := configured(t, c.file, c.env)
			if _, usage := errors.AsType[*usageError](err); !usage {
				t.Fatalf("%v is not a usage error", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// TestConfigurationFileOfTheFolder is not parallel: the folder is the process's.
func TestConfigurationFileOfTheFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(defaultConfigFile, []byte("partitions: 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := configured(t, "", nil)
	if err != nil || got["partitions"] != "9" {
		t.Fatalf("partitions %s, %v; want 9 of %s", got["partitions"], err, defaultConfigFile)
	}
	got, err = configured(t, "partitions: 2\n", nil)
	if err != nil || got["partitions"] != "2" {
		t.Fatalf("partitions %s, %v; want 2 of --config", got["partitions"], err)
	}
}

func TestCompletionWorksWhateverTheConfigurationIs(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(defaultConfigFile, []byte("nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := runIn(t, nil, "__complete", "to"); out.code != 0 || !strings.Contains(out.stdout, "topics") {
		t.Errorf("completion: %+v", out)
	}
	if out := runIn(t, nil, "completion", "bash"); out.code != 0 || !strings.Contains(out.stdout, "__start_parley") {
		t.Errorf("completion bash: code %d, %s", out.code, out.stderr)
	}
	if out := runIn(t, nil, "topics", "list"); out.code != exitUsage {
		t.Errorf("topics list with a wrong file: %+v", out)
	}
}
