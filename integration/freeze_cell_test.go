//go:build integration

package integration

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// cell is an agent of two worker processes, one of which is frozen or killed in
// each round, and the agent behind it.
type cell struct {
	t                 testing.TB
	rnd               *rand.Rand
	brokers, registry string
	name              string
	mode, protocol    string
	kill              bool // and started anew, instead of frozen and woken
	frozen

	platform *agents.Platform
	client   *kgo.Client
	workers  [2]*exec.Cmd

	mu      sync.Mutex
	up      [2]bool              // workers that have had partitions
	changed chan struct{}        // closed and made anew at each change of the following
	started map[string][]run     // by message: its runs that have begun
	ended   map[run]bool         // these have left their handler
	outputs map[string][]written // by message
	read    map[int32]int64      // how far the outputs have been read
	last    map[string]string    // by key: its last message with an output
	acted   map[string]int       // by message: how often the next agent has acted
}

// run is one run of a handler: "slot/process/number".
type run string

func (r run) slot() int { return int(r[0] - '0') }

// written is an output as a read_committed reader sees it.
type written struct {
	id  string
	run run
}

func (c *cell) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until ok, which is asked under the cell's lock.
func (c *cell) await(ctx context.Context, what string, ok func() bool) error {
	for {
		c.mu.Lock()
		done, changed := ok(), c.changed
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("not within the time: %s; messages with an output: %d of %d", what, len(c.outputs), c.Messages)
		}
	}
}

func (c *cell) run(ctx context.Context, rounds int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rounds)*20*time.Second+time.Minute)
	defer cancel()
	c.changed = make(chan struct{})
	c.started, c.outputs, c.read, c.acted, c.ended = map[string][]run{}, map[string][]written{}, map[int32]int64{}, map[string]int{}, map[run]bool{}
	c.last = map[string]string{}
	if err := c.open(ctx); err != nil {
		return err
	}
	defer c.client.Close()
	reading, stopReading := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { c.watch(reading) })
	background.Go(func() { c.act(reading) })
	defer background.Wait()
	defer stopReading()
	for slot := range c.workers {
		if err := c.start(slot); err != nil {
			return err
		}
		defer func() { _ = c.workers[slot].Process.Kill() }()
	}
	sender, err := c.platform.Sender("giver")
	if err != nil {
		return err
	}
	defer sender.Close()
	var inHand []run // what was in mid-handler when its worker was frozen
	for n := range rounds {
		frozen, err := c.round(ctx, sender, n)
		if err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		inHand = append(inHand, frozen...)
		c.Rounds++
	}
	if err := c.bothUp(ctx); err != nil {
		return err
	}
	for _, w := range c.workers {
		_ = w.Process.Signal(syscall.SIGTERM)
	}
	for slot, w := range c.workers {
		if err := w.Wait(); err != nil {
			return fmt.Errorf("worker %d does not drain: %w", slot, err)
		}
	}
	return c.judge(ctx, inHand)
}

func (c *cell) bothUp(ctx context.Context) error {
	return c.await(ctx, "both workers are up", func() bool { return c.up[0] && c.up[1] })
}

// round sends messages, freezes the first worker that is in the middle of one,
// and wakes it when another has them.
func (c *cell) round(ctx context.Context, sender *agents.Sender, n int) ([]run, error) {
	if err := c.bothUp(ctx); err != nil {
		return nil, err
	}
	var ids []string
	var drafts []agents.Draft
	held := 0
	for i := range 16 {
		id := fmt.Sprintf("%03d-%02d", n, i)
		draft := &schemas.ErrorReply{Reason: id}
		if c.rnd.IntN(4) == 0 || i == 15 && held == 0 {
			draft.Message = fmt.Sprint(500+c.rnd.IntN(700), "ms")
			held++
		}
		ids = append(ids, id)
		drafts = append(drafts, sender.ToAgent(c.name, draft, agents.ID(id), agents.Key(fmt.Sprint(c.rnd.IntN(12)))))
	}
	if err := sender.Send(ctx, drafts...); err != nil {
		return nil, err
	}
	c.Messages += len(ids)
	var victim run
	if err := c.await(ctx, "a handler starts", func() bool {
		for _, id := range ids {
			if len(c.started[id]) > 0 {
				victim = c.started[id][0]
				return true
			}
		}
		return false
	}); err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(c.rnd.IntN(200)) * time.Millisecond) // more of them start, and what takes no time is on its way
	worker, wake := c.workers[victim.slot()].Process, syscall.SIGCONT
	signal := syscall.SIGSTOP
	if c.kill {
		signal, wake = syscall.SIGKILL, 0
	}
	if err := worker.Signal(signal); err != nil {
		return nil, err
	}
	defer func() { _ = worker.Signal(wake) }()
	time.Sleep(freezeSession) // what the worker has said is read by then

	inHand := map[string]run{}
	c.mu.Lock()
	for _, id := range ids {
		for _, r := range c.started[id] {
			if r.slot() == victim.slot() && !c.ended[r] && len(c.outputs[id]) == 0 {
				inHand[id] = r
			}
		}
	}
	c.mu.Unlock()
	if err := c.await(ctx, "another worker takes over", func() bool {
		for id := range inHand {
			if last := c.started[id][len(c.started[id])-1]; last.slot() == victim.slot() && len(c.outputs[id]) == 0 {
				return false
			}
		}
		return true
	}); err != nil {
		return nil, err
	}
	c.InMidHandler += len(inHand)
	settled := func() error {
		return c.await(ctx, "all is settled", func() bool {
			for _, id := range ids {
				if len(c.outputs[id]) == 0 {
					return false
				}
			}
			return true
		})
	}
	if c.rnd.IntN(2) == 0 { // woken only when its successor has settled all
		if err := settled(); err != nil {
			return nil, err
		}
	} // else while its successor is in mid-handler itself
	if c.kill {
		_ = c.workers[victim.slot()].Wait()
		if err := c.start(victim.slot()); err != nil {
			return nil, err
		}
	} else if err := worker.Signal(wake); err != nil {
		return nil, err
	}
	var frozen []run
	for _, r := range inHand {
		frozen = append(frozen, r)
	}
	return frozen, settled()
}

// judge counts when nothing is under way any more.
func (c *cell) judge(ctx context.Context, inHand []run) error {
	adm := kadm.NewClient(c.client)
	ends, err := adm.ListCommittedOffsets(ctx, streaming.DefaultNamespace.Events(c.name))
	if err != nil {
		return err
	}
	var end int64
	ends.Each(func(o kadm.ListedOffset) { end += o.Offset })
	if err := c.await(ctx, "all outputs are read", func() bool {
		var at int64
		for _, offset := range c.read {
			at += offset
		}
		return at >= end
	}); err != nil {
		return err
	}
	// The next agent has passed the last record; a marker behind it is none.
	for passed := false; !passed; {
		committed, err := adm.FetchOffsets(ctx, "next-"+c.name)
		if err != nil {
			return err
		}
		var at int64
		committed.Each(func(o kadm.OffsetResponse) { at += max(o.At, 0) })
		c.mu.Lock()
		passed = at >= end || c.mode == "exactly-once" && len(c.acted) >= c.Messages
		c.mu.Unlock()
		select {
		case <-time.After(50 * time.Millisecond): // polls the broker
		case <-ctx.Done():
			return fmt.Errorf("the next agent is at %d of %d", at, end)
		}
	}
	late := map[run]bool{}
	for _, r := range inHand {
		late[r] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := map[string]string{}
	for message, outputs := range c.outputs {
		for _, o := range outputs {
			if ids[message] == "" {
				ids[message] = o.id
			}
			if o.id != ids[message] {
				c.UnknownIDs++
			}
			if late[o.run] && c.mode == "exactly-once" {
				c.ExactlyOnceLate++
			} else if late[o.run] {
				c.AtLeastOnceLate++
			}
		}
		if len(outputs) > 1 && c.mode == "exactly-once" {
			c.ExactlyOnceRepeated++
		}
		if c.acted[message] > 1 {
			c.Repeated++
		}
		if c.acted[message] == 0 {
			c.Lost++
		}
	}
	c.Lost += c.Messages - len(c.outputs)
	return nil
}

// open connects and creates the topic that the workers write to.
func (c *cell) open(ctx context.Context) (err error) {
	if c.platform, err = agents.Connect(ctx, agents.PlatformConfig{
		Brokers: []string{c.brokers}, Registry: c.registry, Register: true, Partitions: cellPartitions,
	}); err != nil {
		return err
	}
	out := streaming.DefaultNamespace.Events(c.name)
	c.client, err = kgo.NewClient(kgo.SeedBrokers(c.brokers), kgo.ConsumeTopics(out),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	adm, inbox := kadm.NewClient(c.client), streaming.DefaultNamespace.Inbox(c.name)
	if _, err = adm.CreateTopics(ctx, cellPartitions, 1, nil, out, inbox); err != nil {
		return err
	}
	for { // until the broker knows them
		if d, err := adm.ListTopics(ctx, out, inbox); err == nil && d.Error() == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond): // polls the broker
		case <-ctx.Done():
			return fmt.Errorf("the broker does not know the topics that it has made")
		}
	}
}

// start starts a worker process and listens to it.
func (c *cell) start(slot int) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderVariable+"="+strings.Join([]string{c.brokers, c.registry, c.name, c.mode, c.protocol, fmt.Sprint(slot)}, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.workers[slot] = cmd
	c.change(func() { c.up[slot] = false })
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if id, r, ok := strings.Cut(lines.Text(), " "); ok {
				c.change(func() {
					switch id {
					case "up":
						c.up[slot] = true
					case "ended":
						c.ended[run(r)] = true
					default:
						c.started[id] = append(c.started[id], run(r))
					}
				})
			}
		}
	}()
	return nil
}

// watch notes the outputs.
func (c *cell) watch(ctx context.Context) {
	for ctx.Err() == nil {
		c.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			defer c.change(func() { c.read[r.Partition] = r.Offset + 1 })
			if r.Attrs.IsControl() {
				return
			}
			var reply schemas.ErrorReply
			if err := c.platform.Codec().Decode(ctx, r.Value, &reply, schemas.TypeErrorReply); err != nil {
				c.t.Errorf("%s: an output cannot be read: %v", c.name, err)
				return
			}
			w := written{run: run(reply.Message)}
			for _, h := range r.Headers {
				if h.Key == "ce_id" {
					w.id = string(h.Value)
				}
			}
			c.change(func() {
				if len(c.outputs[reply.Reason]) == 0 {
					if reply.Reason < c.last[string(r.Key)] && (c.kill || c.mode == "exactly-once") {
						c.Disorder++
					}
					c.last[string(r.Key)] = reply.Reason
				}
				c.outputs[reply.Reason] = append(c.outputs[reply.Reason], w)
			})
		})
	}
}

// act is the next agent.
func (c *cell) act(ctx context.Context) {
	a := agents.New("next-"+c.name, agents.Config{
		Streams: []string{c.name}, Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 3},
	})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		c.change(func() { c.acted[m.Payload.Reason]++ })
		return nil
	})
	if err := c.platform.Run(ctx, a); err != nil {
		c.t.Errorf("%s: %v", c.name, err)
	}
}
