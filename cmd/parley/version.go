package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// version is set by a release build: -ldflags "-X main.version=v1.2.3".
var version string

type versionInfo struct {
	Version      string `json:"version"`
	Commit       string `json:"commit,omitempty"`
	Modified     bool   `json:"modified,omitempty"`
	Go           string `json:"go"`
	WireContract string `json:"wire_contract"`
}

func readVersion(build *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), WireContract: schemas.WireVersion}
	if build != nil {
		if v.Version == "" {
			v.Version = build.Main.Version
		}
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "development"
	}
	return v
}

func newVersionCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say the version of the command, of Go and of the wire contract",
		Example: "  parley version\n  parley version --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			build, _ := debug.ReadBuildInfo()
			v := readVersion(build)
			if asJSON {
				return printJSON(a.stdout, v)
			}
			commit := ""
			if v.Commit != "" {
				commit = ", commit " + v.Commit
				if v.Modified {
					commit += " with changes"
				}
			}
			_, err := fmt.Fprintf(a.stdout, "parley %s (%s%s), wire contract %s\n", v.Version, v.Go, commit, v.WireContract)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
