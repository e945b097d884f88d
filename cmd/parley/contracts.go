package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

func newContractsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contracts",
		Short: "Check what agents say that they read and write, and export it",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newContractsCheckCmd(a), newContractsListCmd(a), newContractsShowCmd(a), newContractsExportCmd(a))
	return cmd
}

// contractSource says where contracts come from.
const contractSource = `The contracts are those of the files and, where --brokers or --registry is set or
there is no file, those that the agents of the platform have published when they
last started. A file counts instead of what its group has published.`

// gather reads the contracts of files and of the platform.
func gather(cmd *cobra.Command, a *app, conn *connection, files []string) ([]contract.Contract, error) {
	byGroup := make(map[string]contract.Contract)
	if len(files) == 0 || cmd.Flags().Changed("brokers") || cmd.Flags().Changed("registry") {
		var err error
		if byGroup, err = published(cmd, a, conn); err != nil {
			return nil, err
		}
	} else if err := conn.check(cmd); err != nil {
		return nil, err
	}
	from := make(map[string]string)
	var errs []error
	for _, file := range files {
		c, err := contract.Read(file)
		if err == nil && from[c.GroupName()] != "" {
			err = fmt.Errorf("%s and %s are both the contract of the group %s", from[c.GroupName()], file, c.GroupName())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		from[c.GroupName()], byGroup[c.GroupName()] = file, c
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := make([]contract.Contract, 0, len(byGroup))
	for _, group := range slices.Sorted(maps.Keys(byGroup)) {
		all = append(all, byGroup[group])
	}
	return all, nil
}

// published reads the contracts in the topic of agents, by group. One that
// cannot be read is named and passed over.
func published(cmd *cobra.Command, a *app, conn *connection) (map[string]contract.Contract, error) {
	log, err := conn.open(cmd)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return nil, err
	}
	defer reg.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	latest := make(map[string]streaming.Record)
	err = conn.readAgents(ctx, log, func(rec *streaming.Record) {
		if strings.HasPrefix(string(rec.Key), schemas.ContractKey("")) {
			latest[string(rec.Key)] = *rec
		}
	})
	if err != nil {
		return nil, err
	}
	codec := schemas.NewCodec(reg)
	found := make(map[string]contract.Contract)
	for _, key := range slices.Sorted(maps.Keys(latest)) {
		rec := latest[key]
		if rec.Value == nil {
			continue // taken back
		}
		c, err := readContract(cmd.Context(), codec, &rec)
		if err != nil {
			if _, outage := errors.AsType[*schemas.RegistryUnavailableError](err); outage {
				return nil, err
			}
			_, _ = fmt.Fprintf(a.stderr, "%s/%d/%d: the contract of the group %s cannot be read and is passed over: %s\n",
				rec.Topic, rec.Partition, rec.Offset, safe(strings.TrimPrefix(key, schemas.ContractKey(""))), safe(oneLine(err)))
			continue
		}
		found[c.GroupName()] = c
	}
	return found, nil
}

func readContract(ctx context.Context, codec *schemas.Codec, rec *streaming.Record) (contract.Contract, error) {
	record, _, err := schemas.ParseContract(ctx, codec, rec)
	if err != nil {
		return contract.Contract{}, err
	}
	return contract.FromRecord(record)
}

func newContractsCheckCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Say which agents do not fit together",
		Long: `Holds contracts against each other: inputs that nobody sends, outputs that nobody
can read, schemas of readers that cannot read those of senders, replies that nobody
takes. One line each; errors make the exit code 1.

` + contractSource,
		Example: "  parley contracts check agents/quake/contracts/*.json\n  parley contracts check contract.json --brokers kafka:9092 --registry http://registry:8081",
		RunE: func(cmd *cobra.Command, files []string) error {
			all, err := gather(cmd, a, &conn, files)
			if err != nil {
				return err
			}
			return checkContracts(a, all, asJSON)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// findingReport is what --json prints of one finding.
type findingReport struct {
	Problem  contract.Problem  `json:"problem"`
	Severity contract.Severity `json:"severity"`
	Agent    string            `json:"agent"`
	Others   []string          `json:"others,omitempty"`
	Type     string            `json:"type,omitempty"`
	At       string            `json:"at,omitempty"`
	Says     string            `json:"says"`
	Remedy   string            `json:"remedy,omitempty"`
	Reasons  []reasonReport    `json:"reasons,omitempty"`
}

type reasonReport struct {
	Path    string       `json:"path,omitempty"`
	Rule    schemas.Rule `json:"rule"`
	Problem string       `json:"problem"`
	Remedy  string       `json:"remedy"`
}

func reportOf(f contract.Finding) findingReport {
	r := findingReport{
		Problem: f.Problem, Severity: f.Severity, Agent: f.Agent, Others: f.Others, Type: f.Type, Says: f.Says, Remedy: f.Remedy,
	}
	if f.At != (contract.Place{}) {
		r.At = f.At.String()
	}
	for _, why := range f.Reasons {
		r.Reasons = append(r.Reasons, reasonReport{Path: why.Path, Rule: why.Rule, Problem: why.Problem, Remedy: why.Remedy})
	}
	return r
}

func checkContracts(a *app, all []contract.Contract, asJSON bool) error {
	findings := contract.Check(all)
	errs := len(contract.Errors(findings))
	var err error
	if asJSON {
		reports := make([]findingReport, 0, len(findings))
		for _, f := range findings {
			reports = append(reports, reportOf(f))
		}
		err = printJSON(a.stdout, struct {
			Contracts int             `json:"contracts"`
			Errors    int             `json:"errors"`
			Findings  []findingReport `json:"findings"`
		}{len(all), errs, reports})
	} else {
		for _, f := range findings {
			if _, err := fmt.Fprintln(a.stdout, safe(f.String())); err != nil {
				return err
			}
		}
		if errs == 0 {
			_, err = fmt.Fprintf(a.stdout, "%s, no errors\n", plural(len(all), "contract"))
		}
	}
	if err == nil && errs > 0 {
		err = fmt.Errorf("%s in %s", plural(errs, "error"), plural(len(all), "contract"))
	}
	return err
}

func newContractsListCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [FILE...]",
		Short: "List what each agent reads and sends",
		Long:  "Lists what each group of an agent reads and sends.\n\n" + contractSource,
		RunE: func(cmd *cobra.Command, files []string) error {
			all, err := gather(cmd, a, &conn, files)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, struct {
					Contracts []contract.Contract `json:"contracts"`
				}{all})
			}
			if len(all) == 0 {
				_, err := fmt.Fprintln(a.stdout, "no agent has published a contract")
				return err
			}
			var rows [][]string
			for _, c := range all {
				sends := ports(c.Produces)
				if c.Undeclared {
					sends = "not declared"
				}
				rows = append(rows, []string{safe(c.GroupName()), safe(c.Agent), orDash(ports(c.Consumes)), orDash(sends)})
			}
			return table(a.stdout, []string{"GROUP", "AGENT", "READS", "SENDS"}, rows)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// ports are message types with their places, for a table.
func ports(all []contract.Port) string {
	var texts []string
	for _, p := range all {
		var at []string
		for _, place := range p.At {
			at = append(at, place.String())
		}
		texts = append(texts, p.Type+" ("+strings.Join(at, " ")+")")
	}
	return safe(strings.Join(texts, ", "))
}

func newContractsShowCmd(a *app) *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:     "show GROUP",
		Short:   "Show the contract that an agent has published",
		Long:    "Shows the contract that a group, by default the agent's name, has published: the text\nthat is kept as contract.json.",
		Example: "  parley contracts show triage > contract.json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := published(cmd, a, &conn)
			if err != nil {
				return err
			}
			c, ok := all[args[0]]
			if !ok {
				return fmt.Errorf("the group %s has published no contract; `parley contracts list` shows those that have", cmp.Or(safe(args[0]), `""`))
			}
			text, err := c.JSON()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
	conn.addFlags(cmd)
	return cmd
}
