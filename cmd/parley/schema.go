package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/agents/saga"
	"github.com/seed-c9b6dc07/parley/schemas"
)

func newSchemaCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "List, show, register, check and compare schemas",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSchemaListCmd(a), newSchemaShowCmd(a), newSchemaRegisterCmd(a), newSchemaCheckCmd(a), newSchemaDiffCmd(a))
	return cmd
}

// schemaRow is one version of a subject as the commands print it.
type schemaRow struct {
	Subject string          `json:"subject"`
	Version int             `json:"version,omitempty"`
	ID      int             `json:"id,omitempty"`
	Type    string          `json:"type,omitempty"`
	Problem string          `json:"problem,omitempty"`
	Schema  json.RawMessage `json:"schema,omitempty"`
}

func rowOf(s schemas.Registered) schemaRow {
	return schemaRow{Subject: s.Subject, Version: s.Version, ID: s.ID, Type: schemas.MessageType(s.Schema)}
}

func newSchemaListCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the subjects of the registry with their latest versions",
		Long: `Lists the subjects of the registry, each with its latest version, the ID that is
written in front of its values, and the message type that it names. A schema that
cannot be used says why.`,
		Example: "  parley schema list\n  parley schema list --json --registry http://registry:8081",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return listSchemas(cmd, a, &conn, asJSON) },
	}
	conn.addRegistryFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func listSchemas(cmd *cobra.Command, a *app, conn *connection, asJSON bool) error {
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	subjects, err := reg.Subjects(cmd.Context())
	if err != nil {
		return err
	}
	rows := make([]schemaRow, 0, len(subjects))
	for _, subject := range subjects {
		latest, err := reg.Latest(cmd.Context(), subject)
		refused, unusable := errors.AsType[*schemas.SchemaError](err)
		switch {
		case err == nil:
			rows = append(rows, rowOf(latest))
		case unusable:
			rows = append(rows, schemaRow{Subject: subject, ID: refused.ID, Problem: err.Error()})
		default:
			return err
		}
	}
	if asJSON {
		return printJSON(a.stdout, struct {
			Schemas []schemaRow `json:"schemas"`
		}{rows})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no schemas in %s\n", reg.URL())
		return err
	}
	var cells [][]string
	for _, r := range rows {
		says := safe(r.Type)
		if r.Problem != "" {
			says = safe(r.Problem)
		}
		cells = append(cells, []string{safe(r.Subject), number(r.Version), number(r.ID), says})
	}
	return table(a.stdout, []string{"SUBJECT", "VERSION", "ID", "TYPE"}, cells)
}

// number is a number that is known.
func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func newSchemaShowCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SUBJECT[@VERSION]",
		Short: "Show a schema as the registry has it",
		Long: `Shows the latest version of a subject, which is the full name of a record, or
the version that is named. The schema is what the platform reads of it, references
included; its own text is on the standard output and can be kept as a file.`,
		Example: "  parley schema show parley.quake.Reported\n  parley schema show parley.quake.Reported@1 > old.avsc",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return showSchema(cmd, a, &conn, args[0], asJSON) },
	}
	conn.addRegistryFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with version and ID")
	return cmd
}

func showSchema(cmd *cobra.Command, a *app, conn *connection, name string, asJSON bool) error {
	subject, text, named := strings.Cut(name, "@")
	version, err := strconv.Atoi(text)
	if named && (err != nil || version < 1) {
		return usagef(cmd, "%q is not a version: a number from 1", text)
	}
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	var s schemas.Registered
	if named {
		s, err = reg.Version(cmd.Context(), subject, version)
	} else {
		s, err = reg.Latest(cmd.Context(), subject)
	}
	if err != nil {
		return err
	}
	schema, err := schemas.SchemaText(s.Schema)
	if err != nil {
		return err
	}
	if asJSON {
		row := rowOf(s)
		row.Schema = json.RawMessage(schema)
		return printJSON(a.stdout, row)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(schema), "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, pretty.String())
	return err
}

func newSchemaRegisterCmd(a *app) *cobra.Command {
	var conn connection
	var platform, asJSON bool
	cmd := &cobra.Command{
		Use:   "register {FILE... | --platform}",
		Short: "Register schemas before agents that write them are deployed",
		Long: `Registers the record of each .avsc file under its full name. One that is registered
already keeps its version and ID. The registry refuses a change that is not
compatible with the versions before, by its own level, and says why; files before
the one that is refused are registered then, and the command can be repeated. A file
with a rule that cannot be used is refused before any is registered.

--platform registers the platform's own schemas, before them: agents that register
nothing themselves need them in the registry before they start.`,
		Example: "  parley schema register --platform --registry http://registry:8081\n" +
			"  parley schema register agents/quake/avro/*.avsc --registry http://registry:8081",
		Args: usageArgs(func(_ *cobra.Command, files []string) error {
			if len(files) == 0 && !platform {
				return errors.New("name files of schemas, or --platform")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, files []string) error {
			return registerSchemas(cmd, a, &conn, platform, files, asJSON)
		},
	}
	conn.addRegistryFlags(cmd)
	cmd.Flags().BoolVar(&platform, "platform", false, "register the platform's own schemas")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func registerSchemas(cmd *cobra.Command, a *app, conn *connection, platform bool, files []string, asJSON bool) error {
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	var all []schemas.Registered // before the first is registered
	if platform {
		for _, m := range platformMessages {
			all = append(all, schemas.Registered{Subject: schemas.FullName(m.Schema()), Schema: m.Schema()})
		}
	}
	own := len(all)
	for _, file := range files {
		s, err := readSchema(file)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	rows := make([]schemaRow, 0, len(all))
	for i, s := range all {
		if s.ID, err = reg.Register(cmd.Context(), s.Schema); err != nil {
			from := s.Subject
			if i >= own {
				from = files[i-own]
			}
			return fmt.Errorf("%s: %w", from, err)
		}
		rows = append(rows, rowOf(s))
		if !asJSON {
			if _, err := fmt.Fprintf(a.stdout, "%s has ID %d\n", s.Subject, s.ID); err != nil {
				return err
			}
		}
	}
	if asJSON {
		return printJSON(a.stdout, struct {
			Schemas []schemaRow `json:"schemas"`
		}{rows})
	}
	return nil
}

// platformMessages are what the platform writes for agents.
var platformMessages = []schemas.Message{
	schemas.Ack{},
	schemas.ErrorReply{},
	schemas.AgentStop{},
	schemas.LedgerEntry{},
	schemas.AgentControl{},
	schemas.AgentContract{},
	schemas.AgentInstance{},
	schemas.RouteSet{},
	schemas.Ask{},
	schemas.AskOver{},
	schemas.BoardProposal{},
	schemas.BoardAnswer{},
	schemas.BoardEntry{},
	contractnet.Opening{},
	contractnet.CallForProposals{},
	contractnet.Proposal{},
	contractnet.Deadline{},
	contractnet.Award{},
	contractnet.Rejection{},
	contractnet.Report{},
	contractnet.Negotiation{},
	saga.Progress{},
}

// readSchema reads the record of a file.
func readSchema(file string) (schemas.Registered, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return schemas.Registered{}, err
	}
	schema, err := schemas.ParseSchema(string(text))
	if err != nil {
		return schemas.Registered{}, fmt.Errorf("%s is not an Avro schema: %w", file, err)
	}
	if schema.Type() != "record" {
		return schemas.Registered{}, fmt.Errorf("%s holds a schema of type %s: a message is a record", file, schema.Type())
	}
	if err := schemas.CheckRules(schema); err != nil {
		return schemas.Registered{}, fmt.Errorf("%s: %w", file, err)
	}
	return schemas.Registered{Subject: schemas.FullName(schema), Schema: schema}, nil
}
