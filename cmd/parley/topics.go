package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

func newTopicsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "Plan, create and list topics",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTopicsPlanCmd(a), newTopicsApplyCmd(a), newTopicsListCmd(a))
	return cmd
}

func newTopicsListCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the topics of the namespace with partitions and records",
		Long:    "Lists the topics of the namespace. Records are those that the log still holds;\nunder transactions their markers are counted too.",
		Example: "  parley topics list\n  parley topics list --json --brokers kafka:9092",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return listTopics(cmd, a, &conn, asJSON) },
	}
	conn.addLogFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

type topicRow struct {
	Topic      string `json:"topic"`
	Partitions int32  `json:"partitions"`
	Records    int64  `json:"records"`
}

func listTopics(cmd *cobra.Command, a *app, conn *connection, asJSON bool) error {
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	partitions, err := log.Topics(ctx, conn.namespace+".")
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(partitions))
	rows := make([]topicRow, 0, len(names))
	if len(names) > 0 { // to ask about no topic is to ask about all
		records, err := countRecords(ctx, log, names)
		if err != nil {
			return err
		}
		for _, name := range names {
			rows = append(rows, topicRow{name, partitions[name], records[name]})
		}
	}
	if asJSON {
		return printJSON(a.stdout, struct {
			Topics []topicRow `json:"topics"`
		}{rows})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no topics in namespace %s\n", conn.namespace)
		return err
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.Topic, strconv.Itoa(int(r.Partitions)), strconv.FormatInt(r.Records, 10)})
	}
	return table(a.stdout, []string{"TOPIC", "PARTITIONS", "RECORDS"}, cells)
}
