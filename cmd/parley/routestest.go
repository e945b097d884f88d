package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/routes"
)

// inOrder are routes as they are looked at.
func inOrder(defs []routeDef) []routeDef {
	sorted := slices.Clone(defs)
	slices.SortFunc(sorted, func(a, b routeDef) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}

// decisionReport is what --json prints of where a message would go.
type decisionReport struct {
	Version      int64                `json:"version,omitempty"` // none: those of a file
	Matches      []matchReport        `json:"matches"`
	Failed       []failureReport      `json:"failed,omitempty"`
	Destinations []routes.Destination `json:"destinations"`
}

type matchReport struct {
	Route        string               `json:"route"`
	Mode         routes.Mode          `json:"mode"`
	Destinations []routes.Destination `json:"destinations"`
}

type failureReport struct {
	Route string     `json:"route"`
	Why   routes.Why `json:"why"`
	Error string     `json:"error"`
}

type routesTest struct {
	file, messageType, schema, payload string
	attributes                         []string
	asJSON                             bool
}

func newRoutesTestCmd(a *app) *cobra.Command {
	var conn connection
	var opts routesTest
	cmd := &cobra.Command{
		Use:   "test --type TYPE [--payload JSON] [--attr NAME=VALUE]...",
		Short: "Say which routes match a message and where it would go, without sending it",
		Long: `Says which routes match a message and where it would go, by the routes in force or
by those of a file. Nothing is sent. The payload is JSON: the text itself, @FILE,
or - for the standard input; it is encoded by the latest schema of the type. The
attributes are ` + strings.Join(routes.Attributes(), ", ") + `; type is --type.
The exit code is 1 where no route leads anywhere.`,
		Example: `  parley routes test --type quake.reported --payload @quake.json --attr source=feed
  parley routes test --file new.yaml --type quake.reported --payload @quake.json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			env, key, err := opts.envelope()
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			return testRoutes(cmd, a, &conn, opts, env, key)
		},
	}
	conn.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.file, "file", "", "routes to test instead of those in force")
	f.StringVar(&opts.messageType, "type", "", "message type, such as quake.reported")
	f.StringVar(&opts.schema, "schema", "", "full name of the payload's schema; default: the one that names the type")
	f.StringVar(&opts.payload, "payload", "", "payload as JSON, @FILE, or - for the standard input")
	f.StringArrayVar(&opts.attributes, "attr", nil, "an attribute of the message, NAME=VALUE")
	f.BoolVar(&opts.asJSON, "json", false, "print one JSON object")
	lineOnly(f, "attr", "payload")
	return cmd
}

// envelope is the message that the flags describe, or all that is wrong with them.
func (o *routesTest) envelope() (env streaming.Envelope, key string, err error) {
	env = streaming.Envelope{ID: schemas.NewID(), Type: o.messageType, Source: "operator", Kind: streaming.KindEvent, Hops: streaming.DefaultHops}
	var errs []error
	if err := schemas.ValidType(o.messageType); err != nil {
		errs = append(errs, fmt.Errorf("--type: %w", err))
	}
	for _, text := range o.attributes {
		name, value, ok := strings.Cut(text, "=")
		var err error
		switch {
		case !ok:
			err = fmt.Errorf("%q is not NAME=VALUE", text)
		case name == "id":
			env.ID = value
		case name == "source":
			env.Source = value
		case name == "kind":
			env.Kind = streaming.Kind(value)
		case name == "recipient":
			env.Recipient = value
		case name == "key":
			key = value
		case name == "correlationid":
			env.CorrelationID = value
		case name == "causationid":
			env.CausationID = value
		case name == "replyto":
			env.ReplyTo = value
		case name == "hops":
			env.Hops, err = strconv.Atoi(value)
		case name == "sequence":
			env.Sequence, err = strconv.ParseInt(value, 10, 64)
		case name == "last":
			env.Last, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("there is no attribute %q: there are %s", name, strings.Join(routes.Attributes(), ", "))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--attr: %w", err))
		}
	}
	if env.CorrelationID == "" {
		env.CorrelationID = env.ID
	}
	return env, key, errors.Join(errs...)
}

// errNoPayload is why a match over the payload fails where none is given.
var errNoPayload = &schemas.DecodeError{Problem: "no payload is given: add --payload"}

func testRoutes(cmd *cobra.Command, a *app, conn *connection, opts routesTest, env streaming.Envelope, key string) error {
	var f routesFile
	var err error
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	if opts.file != "" {
		f, err = readRoutes(cmd, opts.file)
		f.Version = 0
	} else {
		var r *routing
		if r, err = conn.routing(cmd); err == nil {
			f, err = r.inForce(conn)
			r.close()
		}
	}
	if err != nil {
		return err
	}
	set, err := routes.New(schemas.RouteSet{Version: f.Version, Routes: f.defs()})
	if err != nil {
		return err
	}
	m := &routes.Message{Envelope: &env, Key: key, Open: func() (schemas.AvroSchema, []byte, error) { return nil, nil, errNoPayload }}
	if opts.payload != "" {
		text, err := readPayload(cmd.InOrStdin(), opts.payload)
		if err != nil {
			return err
		}
		schema, err := findSchema(cmd, reg, sendOptions{messageType: opts.messageType, schema: opts.schema})
		if err != nil {
			return err
		}
		codec := schemas.NewCodec(reg)
		value, err := codec.EncodeJSON(schema.ID, schema.Schema, text)
		if err != nil {
			return fmt.Errorf("the payload is not a %s: %w", schema.Subject, err)
		}
		m.Open = func() (schemas.AvroSchema, []byte, error) { return codec.Open(cmd.Context(), value) }
	}
	d, err := set.Decide(m)
	if err != nil {
		return err
	}
	if err := a.decided(&d, opts.asJSON); err != nil {
		return err
	}
	if len(d.Destinations) == 0 {
		if f.Version == 0 && opts.file != "" {
			return fmt.Errorf("no route of %s matches this %s", opts.file, env.Type)
		}
		return d.NoRoute(env.Type)
	}
	return nil
}

func (a *app) decided(d *routes.Decision, asJSON bool) error {
	report := decisionReport{Version: d.Version, Matches: []matchReport{}, Destinations: append([]routes.Destination{}, d.Destinations...)}
	var rows [][]string
	for _, m := range d.Matches {
		report.Matches = append(report.Matches, matchReport(m))
		rows = append(rows, []string{m.Route, "matches", string(m.Mode), destinations(m.Destinations)})
	}
	for _, f := range d.Failed {
		report.Failed = append(report.Failed, failureReport{f.Route, f.Why, f.Err.Error()})
		rows = append(rows, []string{f.Route, "fails (" + string(f.Why) + ")", "-", bounded(safe(f.Err.Error()), 100)})
	}
	if asJSON {
		return printJSON(a.stdout, report)
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"ROUTE", "RESULT", "MODE", "GOES TO"}, rows); err != nil {
			return err
		}
	}
	if len(d.Destinations) == 0 {
		return nil // the error says it
	}
	_, err := fmt.Fprintf(a.stdout, "it goes to %s\n", destinations(d.Destinations))
	return err
}

func destinations(all []routes.Destination) string {
	var texts []string
	for _, d := range all {
		texts = append(texts, d.String())
	}
	return strings.Join(texts, " ")
}
