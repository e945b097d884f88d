package main

import (
	"bytes"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/seed-c9b6dc07/parley/streaming/contract/asyncapi"
)

func newContractsExportCmd(a *app) *cobra.Command {
	var conn connection
	var format, out, title, version string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "export [FILE...]",
		Short: "Write contracts as an AsyncAPI 3.0 document",
		Long: `Writes contracts as an AsyncAPI 3.0 document: topics, what each agent reads and
sends there, messages with their Avro schemas, headers and keys. It is YAML, or JSON
with --json or where --out ends in .json.

` + contractSource,
		Example: "  parley contracts export --format asyncapi agents/quake/contracts/*.json --out asyncapi.yaml",
		RunE: func(cmd *cobra.Command, files []string) error {
			if format != "asyncapi" {
				return usagef(cmd, "--format: %q is not asyncapi", format)
			}
			all, err := gather(cmd, a, &conn, files)
			if err != nil {
				return err
			}
			text, err := asyncapi.Document(all, asyncapi.Info{Title: title, Version: version, Namespace: conn.ns()})
			if err != nil {
				return err
			}
			if !asJSON && !strings.HasSuffix(out, ".json") {
				if text, err = asYAML(text); err != nil {
					return err
				}
			}
			if out == "" {
				_, err = a.stdout.Write(text)
				return err
			}
			return os.WriteFile(out, text, 0o644)
		},
	}
	conn.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&format, "format", "asyncapi", "asyncapi is the only one")
	f.StringVarP(&out, "out", "o", "", "`FILE` to write; default: the standard output")
	f.StringVar(&title, "title", "Agents", "title of the document")
	f.StringVar(&version, "api-version", "1.0.0", "version of the document")
	f.BoolVar(&asJSON, "json", false, "JSON, not YAML")
	return cmd
}

// asYAML is a JSON text as YAML, in its order.
func asYAML(text []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	plainStyle(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// plainStyle lets the encoder choose how a node is written, not JSON's brackets.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plainStyle(child)
	}
}
