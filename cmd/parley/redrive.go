package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// redriveFlags say which dead letters, and how.
type redriveFlags struct {
	filter       dlqFilter
	selection    retry.Selection
	key          string
	since, until string
	all          bool
	dryRun       bool
	rate         int
	asJSON       bool
	discard      bool // let them go instead
}

// does says what the command does to a dead letter.
func (r *redriveFlags) does() string {
	if r.discard {
		return "discard"
	}
	return "redrive"
}

// done says what the command has done to one.
func (r *redriveFlags) done() string {
	if r.discard {
		return "discarded"
	}
	return "redriven"
}

func newDLQRedriveCmd(a *app) *cobra.Command {
	var conn connection
	var flags redriveFlags
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Give dead letters back to their agent to be tried again",
		Long: `Gives the selected dead letters of an agent back to it: a copy of each goes to the
agent's first retry topic, where its attempts count anew and the order of its key
holds. The agent may run or not. Of a message only the latest dead letter is
redriven, and only if the message is not done and not waiting already. Other groups
that read the same stream see nothing of it.

The dead letters stay where they are; notes beside them say who has redriven which
of them and when. Killed at any moment, nothing is lost and nothing has a second
effect: the same command goes on. Do so within the ledger's window (24 h by default).`,
		Example: `  parley dlq redrive --agent notify --reason handler --dry-run
  parley dlq redrive --agent notify --reason handler --rate 100
  parley dlq redrive --agent notify --error "connection refused" --since 2026-11-22T10:00:00Z
  parley dlq redrive --agent notify --all --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			return redrive(cmd, a, &conn, &flags)
		},
	}
	flags.add(cmd, &conn)
	cmd.Flags().IntVar(&flags.rate, "rate", 0, "dead letters per second; 0: no limit")
	return cmd
}

func newDLQDiscardCmd(a *app) *cobra.Command {
	var conn connection
	flags := redriveFlags{discard: true}
	cmd := &cobra.Command{
		Use:   "discard",
		Short: "Let dead letters go that are not to be tried again",
		Long: `Lets the selected dead letters of an agent go. Where the agent holds the keys of its
dead letters (agents.Config.Hold), what waits behind them goes on. They stay dead and
can be read, but no redrive takes them up again. The agent may run or not: it obeys
when it reads the note that this leaves beside them, with who has discarded which and
when. Killed at any moment, the same command goes on.`,
		Example: `  parley dlq discard --agent notify --reason permanent --dry-run
  parley dlq discard --agent notify --key order-17`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			return redrive(cmd, a, &conn, &flags)
		},
	}
	flags.add(cmd, &conn)
	return cmd
}

// add adds the flags that say which dead letters.
func (r *redriveFlags) add(cmd *cobra.Command, conn *connection) {
	conn.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&r.filter.agent, "agent", "", "agent (consumer group) whose dead letters they are (required)")
	f.BoolVar(&r.all, "all", false, "all of its dead letters; needed where nothing below selects")
	f.StringVar(&r.filter.topic, "topic", "", "only those of this topic: a dead-letter topic, or the input topic they came from")
	f.StringVar(&r.filter.reason, "reason", "", "only those with this reason")
	f.StringVar(&r.key, "key", "", "only those with this key")
	f.StringVar(&r.selection.Type, "type", "", "only those of this message type")
	f.StringVar(&r.since, "since", "", "only those that died at this `TIME` or later, such as 2026-11-22T10:00:00Z")
	f.StringVar(&r.until, "until", "", "only those that died before this `TIME`")
	f.StringVar(&r.selection.Conversation, "conversation", "", "only those of this conversation (correlation ID)")
	f.StringVar(&r.selection.Error, "error", "", "only those whose error has this `TEXT` in it")
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would be "+r.done()+", by reason, and write nothing")
	f.BoolVar(&r.asJSON, "json", false, "print one JSON object")
	lineOnly(f, "all", "topic", "reason", "key", "type", "since", "until", "conversation", "error", "dry-run")
}

// check reports all that is wrong at once and completes the selection.
func (r *redriveFlags) check(cmd *cobra.Command) error {
	var errs []error
	if r.filter.agent == "" {
		errs = append(errs, errors.New("--agent is needed"))
	}
	r.selection.Reason = streaming.Reason(r.filter.reason)
	if cmd.Flags().Changed("key") {
		r.selection.Key = &r.key
	}
	for flag, text := range map[string]string{"since": r.since, "until": r.until} {
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %q is not a time such as 2026-11-22T10:00:00Z", flag, text))
		}
		if flag == "since" {
			r.selection.Since = at.UTC()
		} else {
			r.selection.Until = at.UTC()
		}
	}
	selects := r.selection != (retry.Selection{}) || r.filter.topic != "" || len(errs) > 0
	if r.all == selects {
		if r.all {
			errs = append(errs, errors.New("--all leaves nothing to select"))
		} else {
			errs = append(errs, errors.New("say which dead letters: --all, or at least one of --topic, --reason, --key, --type, --since, --until, --conversation and --error"))
		}
	}
	if r.rate < 0 {
		errs = append(errs, fmt.Errorf("--rate: %d is not a number of dead letters per second", r.rate))
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if err := errors.Join(errs...); err != nil {
		return usagef(cmd, "%w", err)
	}
	return r.filter.check(cmd)
}

func redrive(cmd *cobra.Command, a *app, conn *connection, flags *redriveFlags) error {
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	inputs, err := flags.inputs(cmd, conn, log)
	if err != nil {
		return err
	}
	if flags.filter.topic != "" {
		flags.selection.Topic = inputs[0]
	}
	progress := newProgress(a.stderr)
	defer progress.end()
	progress.phase("reading", "")
	r := &retry.Redrive{
		Log: &patient{log, conn}, Codec: schemas.NewCodec(reg), Group: flags.filter.agent, Inputs: inputs,
		Selection: flags.selection, By: operator(), Rate: flags.rate, Discard: flags.discard,
		Progress: func(done, of int) {
			progress.phase(strings.TrimSuffix(flags.does(), "e")+"ing", fmt.Sprintf("%d of %d", done, of))
		},
	}
	plan, err := r.Plan(cmd.Context())
	if err != nil {
		return err
	}
	report := newRedriveReport(flags, plan)
	if !flags.dryRun {
		if err := r.Run(cmd.Context(), plan); err != nil {
			if cmd.Context().Err() != nil {
				err = errors.New("interrupted")
			}
			return fmt.Errorf("%w; %d of %d are %s, the same command goes on", err, count(plan.Redriven), report.all(), flags.done())
		}
		report.ToDo = nil
	}
	progress.end()
	if flags.asJSON {
		return printJSON(a.stdout, report)
	}
	_, err = fmt.Fprint(a.stdout, report.String())
	return err
}

// inputs are the input topics whose dead letters are meant.
func (r *redriveFlags) inputs(cmd *cobra.Command, conn *connection, log *kafka.Log) ([]string, error) {
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	all, err := log.Topics(ctx, conn.namespace+".")
	if err != nil {
		return nil, err
	}
	topics, err := r.filter.topics(all)
	for i, topic := range topics {
		topics[i] = parseTopic(topic).input
	}
	return topics, err
}

// patient is a log that says so when it waits too long.
type patient struct {
	*kafka.Log
	conn *connection
}

func (p *patient) Scan(ctx context.Context, ranges []streaming.Range, each func(streaming.Record)) error {
	return p.conn.scan(ctx, p.Log, ranges, each)
}

func (p *patient) AppendSync(ctx context.Context, recs ...*streaming.Record) ([]int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.conn.timeout, errStalled)
	defer cancel()
	offsets, err := p.Log.AppendSync(ctx, recs...)
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		err = fmt.Errorf("%w for %s: check the brokers, or raise --timeout", errStalled, p.conn.timeout)
	}
	return offsets, err
}

// operator is who runs the command, for the audit.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// redriveReport is what --json prints.
type redriveReport struct {
	Agent     string                   `json:"agent"`
	Run       string                   `json:"run,omitempty"`
	Resumed   bool                     `json:"resumed"`
	DryRun    bool                     `json:"dry_run"`
	Selection retry.Selection          `json:"selection"`
	ToDo      map[streaming.Reason]int `json:"to_do,omitempty"`
	Redriven  map[streaming.Reason]int `json:"redriven"` // by this run, in earlier starts too
	Discarded map[streaming.Reason]int `json:"discarded,omitempty"`
	Recorded  int                      `json:"recorded"` // of these, redriven by a run that was killed before it could record it
	LeftOut   retry.LeftOut            `json:"left_out"`

	does, done string
}

func newRedriveReport(flags *redriveFlags, plan *retry.Plan) *redriveReport {
	r := &redriveReport{
		Agent: flags.filter.agent, Run: plan.Run, Resumed: plan.Resumed, DryRun: flags.dryRun, Selection: flags.selection,
		ToDo: plan.ToDo, Redriven: plan.Redriven, Recorded: plan.Found, LeftOut: plan.LeftOut,
		does: flags.does(), done: flags.done(),
	}
	if flags.discard {
		r.Redriven, r.Discarded = map[streaming.Reason]int{}, plan.Redriven
	}
	if flags.dryRun && !plan.Resumed {
		r.Run = "" // it never was
	}
	return r
}

func (r *redriveReport) all() int {
	return count(r.ToDo) + count(r.Redriven) + count(r.Discarded) + r.Recorded
}

func (r *redriveReport) String() string {
	verb, counts := r.done, r.Redriven
	switch {
	case r.DryRun:
		verb, counts = "to "+r.does, r.ToDo
	case r.Discarded != nil:
		counts = r.Discarded
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", verb, plural(count(counts), "dead letter"))
	for i, reason := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%s %s %d", map[bool]string{true: ":", false: ","}[i == 0], reason, counts[reason])
	}
	b.WriteString("\n")
	if r.Resumed {
		fmt.Fprintf(&b, "run %s was not at its end and goes on\n", r.Run)
	}
	for _, line := range []struct {
		n    int
		text string
	}{
		{r.Recorded, "redriven by a run that was killed before it could say so"},
		{r.LeftOut.Redriven, "left out: redriven before"},
		{r.LeftOut.Discarded, "left out: discarded before"},
		{r.LeftOut.Done, "left out: the message is done"},
		{r.LeftOut.Superseded, "left out: the message has a later dead letter"},
		{r.LeftOut.Later, "left out: came after the run had begun; run the command again for them"},
	} {
		if line.n > 0 {
			fmt.Fprintf(&b, "%d %s\n", line.n, line.text)
		}
	}
	return b.String()
}

func count(by map[streaming.Reason]int) (n int) {
	for _, v := range by {
		n += v
	}
	return n
}
