package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Scenario is a run to be made.
type Scenario struct {
	Name    string
	Agents  []string // the chain; each has topics of its own, so no two runs share a name
	Load    Load
	Faults  Faults
	Workers int
	// Session is the workers' session timeout; default: the client's, 45 s, with
	// which a group of the classic protocol waits for its dead.
	Session  time.Duration
	Protocol kafka.GroupProtocol
	// AtLeastOnce is the mode of the first agent. Those behind it run exactly
	// once in either case: what they put out are the effects that must be there
	// once.
	AtLeastOnce bool
	// Settle is how long the messages may take to their ends after the last
	// fault is mended.
	Settle time.Duration
	Seed   uint64
}

// Part is a scenario with a part of its messages, its time and its faults.
func (s Scenario) Part(part float64) Scenario {
	for _, n := range []*int{
		&s.Load.Messages, &s.Faults.Kills, &s.Faults.Restarts, &s.Faults.Freezes, &s.Faults.Cuts,
		&s.Faults.BrokerKills, &s.Faults.BrokerRestarts, &s.Faults.BrokerCuts,
	} {
		*n = int(math.Round(float64(*n) * part))
	}
	s.Load.Over = time.Duration(float64(s.Load.Over) * part)
	return s
}

// Site is where runs are made.
type Site struct {
	Addresses []string // of the brokers, as clients find them
	Registry  string
	Front     *Front
	Brokers   Brokers
	Dir       string // for logs and the report
	Commit    string

	runs   atomic.Int32
	broken sync.Mutex // one broker at a time, whoever breaks it
}

const drainWithin = 40 * time.Second

// run is a scenario at work.
type run struct {
	Scenario
	site  *Site
	dir   string
	net   int // the run's own part of the hosts: 127.0.net.x
	links []Link
	log   *kafka.Log
	admin *kadm.Client
	said  func(format string, args ...any)

	result Result
}

// Run makes a run and judges it. The result is in the report whatever it is; an
// error says that the run could not be made.
func (s *Site) Run(ctx context.Context, sc Scenario, say func(format string, args ...any)) (Result, error) {
	r := &run{Scenario: sc, site: s, said: say, dir: filepath.Join(s.Dir, sc.Agents[0]), net: int(s.runs.Add(1))}
	r.result = Result{
		At: time.Now().UTC().Truncate(time.Second), Commit: s.Commit, Scenario: sc.Name,
		ExactlyOnce: !sc.AtLeastOnce, Seed: sc.Seed, Brokers: s.Brokers.Brokers(),
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return r.result, err
	}
	err := r.run(ctx)
	r.result.Seconds = int(time.Since(r.result.At).Seconds())
	if err != nil {
		r.odd("the run could not be made: %v", err)
	}
	n := &r.result
	n.Passed = n.Lost+n.Duplicates+n.Disorder+n.WrongEnds+n.Strangers+len(n.Other) == 0
	return r.result, errors.Join(err, r.result.Append(s.Dir))
}

func (r *run) odd(format string, args ...any) {
	r.result.Other = append(r.result.Other, fmt.Sprintf(format, args...))
}

func (r *run) run(ctx context.Context) error {
	for i, name := range r.Agents {
		l := Link{Agent: name, ExactlyOnce: i > 0 || !r.AtLeastOnce}
		if i > 0 {
			l.From = r.Agents[i-1]
		}
		r.links = append(r.links, l)
	}
	logFile, err := os.Create(filepath.Join(r.dir, "run.log"))
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	logger := slog.New(slog.NewTextHandler(logFile, nil))
	platform, err := Connect(ctx, r.site.Addresses, r.site.Registry, Host(r.net, loadHost), logger)
	if err != nil {
		return err
	}
	if r.log, err = kafka.NewLog(kafka.Config{Brokers: r.site.Addresses}); err != nil {
		return err
	}
	defer r.log.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.site.Addresses...))
	if err != nil {
		return err
	}
	defer client.Close()
	r.admin = kadm.NewClient(client)
	var outputs, ends []string
	for _, l := range r.links {
		outputs = append(outputs, output(l))
		ends = append(ends, output(l), deadLetters(l))
	}
	if _, err := r.admin.CreateTopics(ctx, Partitions, -1, nil, outputs...); err != nil {
		return err
	}

	fleet, err := NewFleet(Spec{
		Brokers: r.site.Addresses, Registry: r.site.Registry, Plan: Plan{r.Seed}, Links: r.links, Session: r.Session, Protocol: r.Protocol,
	}, r.net, r.Workers, r.dir)
	defer fleet.End()
	if err != nil {
		return err
	}
	sender, err := platform.Sender("load")
	if err != nil {
		return err
	}
	defer sender.Close()
	needed := append(ends, input(r.links[0]))
	if err := r.await(ctx, 3*time.Minute, func(ctx context.Context) error { return r.exist(ctx, needed) }); err != nil {
		return err
	}
	beside, err := NewReader(r.site.Addresses, ends...)
	if err != nil {
		return err
	}

	st := &storm{
		broken: &r.site.broken,
		log:    logFile, Faults: r.Faults, seed: r.Seed, over: r.Load.Over, fleet: fleet, load: Host(r.net, loadHost), front: r.site.Front, brokers: r.site.Brokers,
		whole: func(ctx context.Context) error { return r.await(ctx, time.Minute, r.inSync) },
	}
	type feeding struct {
		fed Fed
		err error
	}
	fed := make(chan feeding, 1)
	begin := time.Now()
	go func() {
		n, err := r.Load.Feed(ctx, sender, r.Agents[0], r.Seed, logger)
		fed <- feeding{n, err}
	}()
	if err := r.await(ctx, 2*time.Minute, func(context.Context) error { return r.begun(beside) }); err != nil {
		return err
	}
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	go r.watch(watching, st, beside)
	st.rage(ctx)
	mended := time.Now()
	load := <-fed
	r.result.Acknowledged, r.result.Resent, r.result.Happened = load.fed.Messages, load.fed.Resent, st.happened
	if load.err != nil {
		return load.err
	}
	r.said("%d messages acknowledged and %d sent again in %s; faults mended after %s", load.fed.Messages, load.fed.Resent,
		time.Since(begin).Round(time.Second), mended.Sub(begin).Round(time.Second))
	for _, err := range st.errs {
		r.odd("%v", err)
	}

	settling := time.Now()
	if err := r.await(ctx, r.Settle, func(ctx context.Context) error { return r.settled(beside) }); err != nil {
		r.odd("%v", err)
	}
	r.said("all settled %s later", time.Since(settling).Round(time.Second))
	for _, err := range fleet.Drain(drainWithin) {
		r.odd("%v", err)
	}
	for _, exit := range fleet.Exits() {
		_, _ = logFile.WriteString(exit + "\n")
	}
	r.result.Exits = len(fleet.Exits())
	return r.judge(ctx, beside, platform.Codec())
}

func output(l Link) string { return streaming.DefaultNamespace.Events(l.Agent) }

func deadLetters(l Link) string { return streaming.DeadLetterTopic(input(l), l.Agent) }

// input is the topic that a link of the chain reads.
func input(l Link) string {
	if l.From == "" {
		return streaming.DefaultNamespace.Inbox(l.Agent)
	}
	return streaming.DefaultNamespace.Events(l.From)
}

// watch notes how far the messages have come, for who reads the log.
func (r *run) watch(ctx context.Context, st *storm, beside *Reader) {
	for sleep(ctx, 5*time.Second) {
		line := ""
		for _, l := range r.links {
			line += fmt.Sprintf(" %s: %d put out, %d dead;", l.Agent, beside.Different(output(l)), beside.Different(deadLetters(l)))
		}
		st.note(nil, "so far%s", line)
	}
}

// judge reads everything again and compares.
func (r *run) judge(ctx context.Context, beside *Reader, codec *schemas.Codec) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := beside.ReadTo(ctx); err != nil {
		r.odd("%v", err)
	}
	was, problems := beside.Close()
	topics := []string{input(r.links[0])}
	for _, l := range r.links {
		topics = append(topics, output(l), deadLetters(l))
	}
	after, err := NewReader(r.site.Addresses, topics...)
	if err != nil {
		return err
	}
	if err := after.ReadTo(ctx); err != nil {
		r.odd("%v", err)
	}
	is, more := after.Close()
	for _, p := range append(problems, more...) {
		r.odd("%s", p)
	}
	if n := different(is[topics[0]]); n != r.result.Acknowledged {
		r.odd("%d different messages stand in %s, %d were acknowledged", n, topics[0], r.result.Acknowledged)
	}
	n := &r.result
	for _, l := range r.links {
		for _, topic := range []string{output(l), deadLetters(l)} {
			for _, d := range Same(topic, was[topic], is[topic]) {
				r.odd("%s", d)
			}
		}
		// At least once around a frozen owner, or one cut off: the same IDs, in any order.
		zombies := n.Freezes > 0 || r.Faults.CutFor[1] >= r.session()
		weak := !l.ExactlyOnce && zombies
		v := Stage{
			Agent: l.Agent, Plan: Plan{r.Seed}, In: is[input(l)], Out: is[output(l)],
			Dead: is[deadLetters(l)], Once: l.ExactlyOnce, Ordered: !weak,
		}.Judge()
		n.Dead += v.Dead + v.Crashed
		n.Crashed += v.Crashed
		n.Lost += v.Lost
		n.Duplicates += v.Duplicates
		n.Disorder += v.Disorder
		n.WrongEnds += v.WrongEnds
		n.Strangers += v.Strangers
		n.Repeated += v.Repeated
		n.Reordered += v.Reordered
		r.said("%s: %d messages, %d done, %d dead (and %d as crash), %d lost, %d duplicates, %d out of order, %d wrong ends, %d strangers; %d repeated, %d reordered",
			l.Agent, v.Messages, v.Done, v.Dead, v.Crashed, v.Lost, v.Duplicates, v.Disorder, v.WrongEnds, v.Strangers, v.Repeated, v.Reordered)
		if v.Violations() > 0 {
			if err := r.dump(ctx, l, v.Concerned); err != nil {
				r.odd("dump: %v", err)
			}
		}
		if err := r.await(ctx, time.Minute, func(ctx context.Context) error { return r.stable(ctx, l) }); err != nil {
			r.odd("%v", err)
		}
		var report *audit.Report
		if err := r.await(ctx, time.Minute, func(ctx context.Context) (err error) { // a busy machine refuses a connection
			report, err = r.audit(ctx, l, codec)
			return err
		}); err != nil {
			return err
		}
		n.Redeliveries += report.Redeliveries
		if c := report.Conservation(); c != audit.Exact && !weak {
			r.odd("conservation: %s", c)
		}
	}
	r.said("judged in %s", time.Since(begin).Round(time.Second))
	return nil
}

func (r *run) session() time.Duration {
	if r.Session > 0 {
		return r.Session
	}
	return 45 * time.Second
}

func different(all []Seen) int {
	ids := make(map[MessageID]bool, len(all))
	for _, s := range all {
		ids[s.Message] = true
	}
	return len(ids)
}

// stable: no transaction is open, or has its end still to be written, in the
// topics that an audit reads.
func (r *run) stable(ctx context.Context, l Link) error {
	topics := []string{deadLetters(l), streaming.LedgerTopic(input(l), l.Agent)}
	for _, tier := range tiers {
		topics = append(topics, streaming.RetryTopic(input(l), tier, l.Agent))
	}
	ends, err := r.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	stable, err := r.admin.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	open := ""
	ends.Each(func(o kadm.ListedOffset) {
		if at, ok := stable.Lookup(o.Topic, o.Partition); !ok || at.Offset < o.Offset {
			open = fmt.Sprintf("%s/%d ends at %d, and no transaction is open up to %d only", o.Topic, o.Partition, o.Offset, at.Offset)
		}
	})
	if open != "" {
		return errors.New(open)
	}
	return nil
}

func (r *run) audit(ctx context.Context, l Link, codec *schemas.Codec) (*audit.Report, error) {
	g := audit.Group{Agent: l.Agent, Types: []string{schemas.MessageType((&schemas.ErrorReply{}).Schema())}}
	if l.From != "" {
		g.Streams = []string{l.From}
	}
	a, err := audit.New(ctx, r.log, codec, g)
	if err != nil {
		return nil, err
	}
	return a.Read(ctx, nil)
}

// await polls a condition of other processes.
func (r *run) await(ctx context.Context, within time.Duration, holds func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := holds(ctx)
		if err == nil {
			return nil
		}
		if !sleep(ctx, 300*time.Millisecond) {
			return fmt.Errorf("within %s: %w", within, err)
		}
	}
}

// begun: the chain is at work.
func (r *run) begun(beside *Reader) error {
	if last := r.links[len(r.links)-1]; beside.Different(output(last)) == 0 {
		return fmt.Errorf("nothing comes out of %s", last.Agent)
	}
	return nil
}

func (r *run) exist(ctx context.Context, topics []string) error {
	d, err := r.admin.ListTopics(ctx, topics...)
	if err == nil {
		err = d.Error()
	}
	if err != nil {
		return fmt.Errorf("no worker makes its topics: %w", err)
	}
	return nil
}

// inSync: every partition has all its replicas.
func (r *run) inSync(ctx context.Context) error {
	topics, err := r.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return err
	}
	short := 0
	topics.EachPartition(func(p kadm.PartitionDetail) {
		if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
			short++
		}
	})
	if short > 0 {
		return fmt.Errorf("%d partitions are short of replicas", short)
	}
	return nil
}

// settled: each message has come to the end of the chain, or died on the way.
func (r *run) settled(beside *Reader) error {
	ended := beside.Different(output(r.links[len(r.links)-1]))
	for _, l := range r.links {
		ended += beside.Different(deadLetters(l))
	}
	if ended < r.result.Acknowledged {
		return fmt.Errorf("%d of %d messages have come to an end", ended, r.result.Acknowledged)
	}
	return nil
}
