package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// defaultTail is how many records tail shows when nothing else is said.
const defaultTail = 10

type tailOptions struct {
	agent, stream string
	from          string
	count         int
	follow        bool
	asJSON        bool
}

func newTailCmd(a *app) *cobra.Command {
	var conn connection
	var opts tailOptions
	cmd := &cobra.Command{
		Use:   "tail {TOPIC | --agent AGENT | --stream STREAM}",
		Short: "Show the messages of a topic, decoded",
		Long: `Shows the records of a topic, of an agent's inbox or of a stream: time, type,
kind, sender and recipient, message ID, conversation, key and place
(topic/partition/offset), and below it the payload as JSON. A record of a retry
or dead-letter topic shows its attempts, origin, reason and error too. What
cannot be decoded is shown with the reason and its first bytes.

It shows the last 10 records and ends; --follow goes on as records come, until
it is interrupted. With --from start it shows all that the log holds, or the
first of it with -n; with --from end --follow only what is new. What -n picks is
ordered by time; otherwise records come in order of each partition.`,
		Example: `  parley tail --agent dispatch --follow
  parley tail --stream quakes --from start --json
  parley tail parley.inbox.notify.dlq.notify -n 3`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, err := opts.check(cmd, &conn, args)
			if err != nil {
				return err
			}
			return tail(cmd, a, &conn, topic, opts)
		},
	}
	conn.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.agent, "agent", "", "show this agent's inbox")
	f.StringVar(&opts.stream, "stream", "", "show this stream")
	f.StringVar(&opts.from, "from", "", "start or end; default: the last records")
	f.IntVarP(&opts.count, "count", "n", defaultTail, "how many records; 0: all")
	f.BoolVarP(&opts.follow, "follow", "f", false, "go on as records come")
	f.BoolVar(&opts.asJSON, "json", false, "print one JSON object per line")
	return cmd
}

// check returns the topic that the flags and arguments name.
func (o *tailOptions) check(cmd *cobra.Command, conn *connection, args []string) (topic string, err error) {
	if o.from == "start" && !cmd.Flags().Changed("count") {
		o.count = 0
	}
	named := len(args)
	for _, s := range []string{o.agent, o.stream} {
		if s != "" {
			named++
			if err := schemas.ValidName(s); err != nil {
				return "", usagef(cmd, "%w", err)
			}
		}
	}
	switch {
	case named != 1:
		return "", usagef(cmd, "name one of TOPIC, --agent and --stream")
	case o.from != "" && o.from != "start" && o.from != "end":
		return "", usagef(cmd, "--from: %q is neither start nor end", o.from)
	case o.from == "end" && !o.follow:
		return "", usagef(cmd, "--from end shows what is new, so it needs --follow")
	case o.count < 0:
		return "", usagef(cmd, "-n: %d is not a number of records", o.count)
	case o.agent != "":
		return conn.ns().Inbox(o.agent), nil
	case o.stream != "":
		return conn.ns().Events(o.stream), nil
	}
	return args[0], nil
}

func tail(cmd *cobra.Command, a *app, conn *connection, topic string, opts tailOptions) error {
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
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	if _, err := conn.existing(ctx, log, topic); err != nil {
		return err
	}
	whole, err := wholeLog(ctx, log, []string{topic})
	if err != nil {
		return err
	}
	p := &tailPrinter{ctx: cmd.Context(), codec: schemas.NewCodec(reg), out: bufio.NewWriter(a.stdout), asJSON: opts.asJSON}
	if opts.from != "end" {
		if err := p.past(conn, log, whole, opts); err != nil {
			return err
		}
	}
	if !opts.follow {
		return p.flush()
	}
	return p.follow(log, whole)
}

// tailPrinter prints records until the first thing that goes wrong.
type tailPrinter struct {
	ctx    context.Context
	codec  *schemas.Codec
	out    *bufio.Writer
	asJSON bool
	err    error
}

// past prints what the log holds, all or -n of it.
func (p *tailPrinter) past(conn *connection, log *kafka.Log, whole []kafka.Range, opts tailOptions) error {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if opts.count == 0 {
		err := conn.scan(ctx, log, whole, func(r streaming.Record) {
			if p.print(&r); p.err != nil {
				cancel()
			}
		})
		return errors.Join(p.err, ignoreAfter(p.err, err))
	}
	// Of each partition as many as may be among the wanted, then the wanted.
	picked := slices.Clone(whole)
	for i := range picked {
		r := &picked[i]
		if opts.from == "start" {
			r.To = min(r.To, r.From+int64(opts.count))
		} else {
			r.From = max(r.From, r.To-int64(opts.count))
		}
	}
	var recs []streaming.Record
	if err := conn.scan(ctx, log, picked, func(r streaming.Record) { recs = append(recs, r) }); err != nil {
		return err
	}
	slices.SortFunc(recs, byTime)
	if extra := len(recs) - opts.count; extra > 0 && opts.from == "start" {
		recs = recs[:opts.count]
	} else if extra > 0 {
		recs = recs[extra:]
	}
	for i := range recs {
		p.print(&recs[i])
	}
	return p.err
}

// ignoreAfter drops the error of a scan that was ended because of another.
func ignoreAfter(first, err error) error {
	if first != nil {
		return nil
	}
	return err
}

// follow prints what comes after the ends of ranges until the context ends.
func (p *tailPrinter) follow(log *kafka.Log, ranges []kafka.Range) error {
	if err := p.flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	from := make(map[streaming.TopicPartition]int64, len(ranges))
	for _, r := range ranges {
		from[r.TopicPartition] = r.To
	}
	log.Follow(from)
	err := log.Read(ctx, nil, func(_ streaming.TopicPartition, recs []streaming.Record) {
		for i := range recs {
			p.print(&recs[i])
		}
		if p.flush() != nil {
			cancel()
		}
	}, nil)
	return errors.Join(p.err, ignoreAfter(p.err, err))
}

func (p *tailPrinter) flush() error {
	if p.err == nil {
		p.err = p.out.Flush()
	}
	return p.err
}

func (p *tailPrinter) print(rec *streaming.Record) {
	if p.err != nil {
		return
	}
	v := viewRecord(p.ctx, p.codec, rec)
	if v.outage != nil {
		// Without the registry nothing that follows can be shown either.
		p.err = v.outage
		return
	}
	if p.asJSON {
		p.err = printJSON(p.out, v)
		return
	}
	_, p.err = fmt.Fprint(p.out, v.lines())
}
