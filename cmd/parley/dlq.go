package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

func newDLQCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List, inspect, redrive and discard dead letters",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDLQListCmd(a), newDLQShowCmd(a), newDLQRedriveCmd(a), newDLQDiscardCmd(a))
	return cmd
}

type dlqFilter struct {
	agent, topic, reason string
	redriven             bool // list those too
}

func newDLQListCmd(a *app) *cobra.Command {
	var conn connection
	var filter dlqFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first, with counts per reason",
		Long: `Lists the dead letters of the namespace: their place, when they came there, type,
message ID, reason, attempts and the first line of the error. Those that were
redriven or discarded are left out and counted; --redriven lists them too. Where an
agent holds the keys of its dead letters, it says how many messages wait behind them.
` + "`parley dlq show`" + ` takes the place and shows all of one.`,
		Example: `  parley dlq list
  parley dlq list --agent notify --reason handler
  parley dlq list --topic parley.inbox.notify --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := filter.check(cmd); err != nil {
				return err
			}
			return listDeadLetters(cmd, a, &conn, filter, asJSON)
		},
	}
	conn.addLogFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&filter.agent, "agent", "", "only those of this agent (consumer group)")
	f.StringVar(&filter.topic, "topic", "", "only those of this topic: a dead-letter topic, or the input topic they came from")
	f.StringVar(&filter.reason, "reason", "", "only those with this reason")
	f.BoolVar(&filter.redriven, "redriven", false, "list those that were redriven or discarded, too")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (d *dlqFilter) check(cmd *cobra.Command) error {
	if d.reason == "" {
		return nil
	}
	var names []string
	for _, r := range streaming.Reasons() {
		if d.reason == string(r) {
			return nil
		}
		names = append(names, string(r))
	}
	return usagef(cmd, "--reason: %q is none of %s", d.reason, strings.Join(names, ", "))
}

// topics picks the dead-letter topics.
func (d *dlqFilter) topics(all map[string]int32) ([]string, error) {
	var picked []string
	for _, topic := range slices.Sorted(maps.Keys(all)) {
		name := parseTopic(topic)
		if name.companion == companionDead &&
			(d.agent == "" || d.agent == name.group) &&
			(d.topic == "" || d.topic == topic || d.topic == name.input) {
			picked = append(picked, topic)
		}
	}
	if len(picked) == 0 && (d.agent != "" || d.topic != "") {
		var of []string
		if d.agent != "" {
			of = append(of, "agent "+d.agent)
		}
		if d.topic != "" {
			of = append(of, "topic "+d.topic)
		}
		return nil, fmt.Errorf("there is no dead-letter topic of %s; `parley topics list` shows what there is", strings.Join(of, " and "))
	}
	return picked, nil
}

type deadLetterRow struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Source    string    `json:"source"`
	Reason    string    `json:"reason"`
	Attempts  int       `json:"attempts"`
	Error     string    `json:"error"`
	Redriven  time.Time `json:"redriven,omitzero"` // or discarded: when, if it was
}

// maxCell bounds what a table's cell shows of a text from the log.
const maxCell = 100

func newDeadLetterRow(rec *streaming.Record) deadLetterRow {
	v := viewRecord(context.Background(), nil, rec)
	row := deadLetterRow{
		Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Time: rec.Timestamp.UTC(),
		Type: v.Envelope.Type, ID: v.Envelope.ID, Source: v.Envelope.Source, Reason: string(streaming.ReasonUnknown),
	}
	if h := v.Hop; h != nil {
		row.Reason, row.Attempts, row.Error = cmp.Or(h.Reason, row.Reason), h.Attempt, firstLine(h.Error)
	} else if len(v.Problems) > 0 { // written by somebody else
		row.Error = v.Problems[0].Problem
	}
	return row
}

func listDeadLetters(cmd *cobra.Command, a *app, conn *connection, filter dlqFilter, asJSON bool) error {
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	rows, redriven, err := readDeadLetters(cmd, conn, log, filter)
	if err != nil {
		return err
	}
	held, err := countHeld(cmd, conn, log, filter)
	if err != nil {
		return err
	}
	byReason := make(map[string]int)
	for _, r := range rows {
		byReason[r.Reason]++
	}
	if asJSON {
		return printJSON(a.stdout, struct {
			DeadLetters []deadLetterRow `json:"dead_letters"`
			ByReason    map[string]int  `json:"by_reason"`
			Redriven    int             `json:"redriven"` // or discarded
			Held        int64           `json:"held"`     // messages that wait behind dead letters, at most
		}{rows, byReason, redriven, held})
	}
	more := ""
	if redriven > 0 && !filter.redriven {
		more = fmt.Sprintf(" (%d redriven or discarded, not listed)", redriven)
	}
	if held > 0 {
		more += fmt.Sprintf("\nwaiting behind dead letters of their keys: %s at most", plural(held, "message"))
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.stdout, "no dead letters"+more)
		return err
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{
			r.Topic, strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10), stamp(r.Time),
			orDash(bounded(r.Type, maxCell)), orDash(bounded(r.ID, maxCell)), r.Reason, strconv.Itoa(r.Attempts),
			safe(bounded(r.Error, maxCell)),
		})
	}
	head := []string{"TOPIC", "PARTITION", "OFFSET", "TIME", "TYPE", "ID", "REASON", "ATTEMPTS", "ERROR"}
	if err := table(a.stdout, head, cells); err != nil {
		return err
	}
	var counts []string
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		counts = append(counts, fmt.Sprintf("%s %d", reason, byReason[reason]))
	}
	_, err = fmt.Fprintf(a.stdout, "\n%s: %s%s\n", plural(len(rows), "dead letter"), strings.Join(counts, ", "), more)
	return err
}

// readDeadLetters returns the dead letters to be listed, and how many of all that
// the filter meets were redriven.
func readDeadLetters(cmd *cobra.Command, conn *connection, log *kafka.Log, filter dlqFilter) (rows []deadLetterRow, redriven int, err error) {
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	all, err := log.Topics(ctx, conn.namespace+".")
	if err != nil {
		return nil, 0, err
	}
	rows = []deadLetterRow{}
	topics, err := filter.topics(all)
	if err != nil || len(topics) == 0 {
		return rows, 0, err
	}
	ranges, err := wholeLog(ctx, log, topics)
	if err != nil {
		return nil, 0, err
	}
	settled := make(map[place]time.Time)
	err = conn.scan(cmd.Context(), log, ranges, func(r streaming.Record) {
		if n := schemas.ParseRedriveNote(&r); n != nil {
			for _, o := range n.Offsets {
				settled[place{r.Topic, r.Partition, o}] = n.Time
			}
			return
		}
		if row := newDeadLetterRow(&r); filter.reason == "" || filter.reason == row.Reason {
			rows = append(rows, row)
		}
	})
	rows = slices.DeleteFunc(rows, func(r deadLetterRow) bool {
		_, again := settled[place{r.Topic, r.Partition, r.Offset}]
		if again {
			redriven++
		}
		return again && !filter.redriven
	})
	for i, r := range rows {
		rows[i].Redriven = settled[place{r.Topic, r.Partition, r.Offset}]
	}
	slices.SortFunc(rows, func(a, b deadLetterRow) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return rows, redriven, err
}

// countHeld counts the messages in the hold topics that belong to the dead-letter
// topics of a filter. Some may be done that stand behind one that is not.
func countHeld(cmd *cobra.Command, conn *connection, log *kafka.Log, filter dlqFilter) (held int64, err error) {
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	all, err := log.Topics(ctx, conn.namespace+".")
	if err != nil {
		return 0, err
	}
	dead, err := filter.topics(all)
	if err != nil {
		return 0, err
	}
	for _, topic := range dead {
		name := parseTopic(topic)
		hold := streaming.HoldTopic(name.input, name.group)
		if all[hold] == 0 {
			continue
		}
		committed, err := log.Committed(ctx, name.group)
		if err != nil {
			return 0, err
		}
		ranges, err := wholeLog(ctx, log, []string{hold})
		if err != nil {
			return 0, err
		}
		for _, r := range ranges {
			held += r.To - max(r.From, committed[r.TopicPartition])
		}
	}
	return held, nil
}

// place is TOPIC/PARTITION/OFFSET, as list shows it.
type place struct {
	topic     string
	partition int32
	offset    int64
}

func parsePlace(s string) (place, error) {
	bad := fmt.Errorf("%q is not TOPIC/PARTITION/OFFSET, such as parley.inbox.notify.dlq.notify/0/17", s)
	topic, rest, _ := strings.Cut(s, "/")
	partition, offset, found := strings.Cut(rest, "/")
	if !found || topic == "" {
		return place{}, bad
	}
	p, err1 := strconv.ParseUint(partition, 10, 31)
	o, err2 := strconv.ParseUint(offset, 10, 63)
	if err1 != nil || err2 != nil {
		return place{}, bad
	}
	return place{topic, int32(p), int64(o)}, nil
}

// load reads the record at a place, or says what is there instead.
func (p place) load(ctx context.Context, conn *connection, log *kafka.Log) (streaming.Record, error) {
	partitions, err := conn.existing(ctx, log, p.topic)
	if err != nil {
		return streaming.Record{}, err
	}
	if p.partition >= partitions {
		return streaming.Record{}, fmt.Errorf("%s has partitions 0 to %d, not %d", p.topic, partitions-1, p.partition)
	}
	ranges, err := wholeLog(ctx, log, []string{p.topic})
	if err != nil {
		return streaming.Record{}, err
	}
	for _, r := range ranges {
		switch {
		case r.TopicPartition.Partition != p.partition:
		case r.From == r.To:
			return streaming.Record{}, fmt.Errorf("%s/%d is empty", p.topic, p.partition)
		case p.offset < r.From || p.offset >= r.To:
			return streaming.Record{}, fmt.Errorf("%s/%d holds offsets %d to %d, not %d", p.topic, p.partition, r.From, r.To-1, p.offset)
		}
	}
	return log.Load(ctx, p.topic, p.partition, p.offset)
}
