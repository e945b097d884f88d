// Command bench measures Parley beside its peers, on one broker in one run: a
// copy of the same records by the plain Kafka client, by Parley at least once
// and exactly once, by raw transactions and by Watermill; requests and replies;
// how late retries are; and what failing keys cost the others. The peers take
// turns, round by round, and what each has written is counted by a reader of its
// own, so that a figure stands for records that are there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:generate go run ../schemas/avrogen -pkg main -o messages_gen.go avro/reading.avsc avro/result.avsc

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	brokers    string
	rounds     int
	messages   int
	slow       int // messages of the peers that take one at a time
	keys       int
	batch      int
	rate       int
	askRates   []int
	seconds    int
	ids        int // of the ledger
	only       string
	json       bool
	cpuprofile string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.brokers, "brokers", "", "Kafka's `addresses`, comma-separated; default: one broker in a container, for this run")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; the peers take turns in each")
	flags.IntVar(&o.messages, "messages", 1_000_000, "messages of each copy: in a short one starting, draining and a broker that is not compiled yet weigh more than the copying")
	flags.IntVar(&o.slow, "slow-messages", 10_000, "messages of a copy by Watermill")
	flags.IntVar(&o.keys, "keys", 10_000, "different keys")
	flags.IntVar(&o.batch, "batch", 5000, "records that a raw peer polls, and so commits, at once")
	flags.IntVar(&o.rate, "rate", 1000, "retries per second")
	askRates := flags.String("request-rates", "200,1000", "requests per `second`, comma-separated: one after the other. A rate that keeps the machine busy measures its queues, not the way")
	flags.IntVar(&o.seconds, "seconds", 5, "how long requests and retries are sent for, each round")
	flags.IntVar(&o.ids, "ids", 1_000_000, "messages that the ledger remembers")
	flags.StringVar(&o.only, "only", "", "run only what has one of these `words`, comma-separated, in its name")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.StringVar(&o.cpuprofile, "cpuprofile", "", "write the CPU profile of Parley's last copy to this `file`; with -only it is one of your choice")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for _, text := range strings.Split(*askRates, ",") {
		rate, err := strconv.Atoi(text)
		if err != nil || rate < 1 || slices.Contains(o.askRates, rate) {
			return o, fmt.Errorf("request-rates: %q is no rate, or stands twice", text)
		}
		o.askRates = append(o.askRates, rate)
	}
	if o.rounds < 1 || o.messages < 1 || o.slow < 1 || o.slow > o.messages || o.keys < 1 || o.batch < 1 || o.rate < 1 || o.seconds < 1 || o.ids < 1 {
		return o, errors.New("rounds, messages, keys, batch, rate, seconds and ids are at least 1; slow-messages at most messages")
	}
	return o, nil
}

// wants reports whether something of that name is to be measured.
func (o options) wants(name string) bool {
	if o.only == "" {
		return true
	}
	for _, word := range strings.Split(o.only, ",") {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	brokers := strings.Split(o.brokers, ",")
	var own *broker
	if o.brokers == "" {
		b, err := startBroker(ctx, stderr)
		if err != nil {
			return err
		}
		defer b.stop()
		own, brokers = b, []string{b.address}
	}
	e, err := newEnv(ctx, brokers)
	if err != nil {
		return err
	}
	e.broker = own
	defer func() { err = errors.Join(err, e.close()) }()
	r, err := measure(ctx, e, o, stderr)
	if err != nil {
		return err
	}
	if o.json {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	return r.print(stdout)
}

// measure runs all rounds.
func measure(ctx context.Context, e *env, o options, progress io.Writer) (_ *report, err error) {
	started := time.Now()
	if err := e.fill(ctx, streamIn, o.messages, o.keys); err != nil {
		return nil, err
	}
	if err := e.fill(ctx, streamFew, o.slow, o.keys); err != nil {
		return nil, err
	}
	r := newReport(ctx, e, o)
	copies := copyPeers(o)
	for _, p := range copies { // the broker's code is compiled while it runs: the first to use it would pay for all
		if o.wants(p.name) {
			warm := o
			warm.cpuprofile, p.slow = "", true
			if _, err := e.copyRound(ctx, warm, p, 0); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	asks := askPeers()
	for _, p := range asks {
		if o.wants(p.name) {
			warm := o
			warm.seconds = 1
			if _, err := p.run(ctx, e, warm, o.askRates[0]); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for round := range o.rounds {
		for i := range copies {
			p := copies[(i+round)%len(copies)] // each has each place in the order
			if !o.wants(p.name) {
				continue
			}
			c, err := e.copyRound(ctx, o, p, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			r.copied(p.name, c)
			_, _ = fmt.Fprintf(progress, "round %d: %-28s %9.0f msg/s, %5.1f µs CPU, %5.1f µs the broker's\n",
				round+1, p.name, c.perSecond, microseconds(c.cpu), microseconds(c.broker))
		}
		for _, rate := range o.askRates {
			for i := range asks {
				p := asks[(i+round)%len(asks)]
				if !o.wants(p.name) {
					continue
				}
				latencies, err := p.run(ctx, e, o, rate)
				if err != nil {
					return nil, fmt.Errorf("%s at %d/s: %w", p.name, rate, err)
				}
				r.took(p.name, rate, latencies)
				_, _ = fmt.Fprintf(progress, "round %d: %-28s p50 %s p99 %s at %d/s\n", round+1, p.name, quantile(latencies, 0.5), quantile(latencies, 0.99), rate)
			}
		}
		if o.wants(nameRetry) {
			late, err := retryRound(ctx, e, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", nameRetry, err)
			}
			r.took(nameRetry, o.rate, late)
			_, _ = fmt.Fprintf(progress, "round %d: %-28s p50 %s p99 %s\n", round+1, nameRetry, quantile(late, 0.5), quantile(late, 0.99))
		}
	}
	if o.wants(nameLedger) {
		if r.Ledger, err = ledgerRounds(ctx, e, o.ids, o.rounds); err != nil {
			return nil, fmt.Errorf("%s: %w", nameLedger, err)
		}
		_, _ = fmt.Fprintln(progress, r.Ledger)
	}
	r.Seconds = time.Since(started).Seconds()
	r.conclude()
	return r, nil
}
