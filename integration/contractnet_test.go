//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// marketVariable makes the test binary a process of a manager or a bidder: broker,
// registry, namespace, mode, agent, slot.
const marketVariable = "PARLEY_TEST_MARKET"

var marketBidders = []string{"ann", "bob", "cid"}

func runMarket(spec string) int {
	part := strings.Split(spec, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := marketPlatform(ctx, part[0], part[1], part[2])
	if err == nil {
		a, _ := marketAgent(part[4], agents.Config{
			ExactlyOnce: part[3] == "true", Instance: part[5], SessionTimeout: 6 * time.Second, DrainTimeout: 2 * time.Second,
			Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 3},
		})
		err = p.Run(ctx, a)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "market:", err)
		return 1
	}
	return 0
}

func marketPlatform(ctx context.Context, broker, registry, namespace string) (*agents.Platform, error) {
	return agents.Connect(ctx, agents.PlatformConfig{
		Brokers: []string{broker}, Registry: registry, Register: true, Partitions: 3, Namespace: streaming.Namespace(namespace),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
}

// marketAgent is the manager, or a bidder, whose bids and luck depend on the task.
func marketAgent(name string, cfg agents.Config) (*agents.Agent, *contractnet.Manager[schemas.Ack, schemas.Ack]) {
	a := agents.New(name, cfg)
	if name == "boss" {
		mgr := contractnet.Manage(a, "work", contractnet.Config{Bids: 8 * time.Second, Work: 4 * time.Second, Remember: time.Minute},
			func(_ context.Context, c *contractnet.Concluded[schemas.Ack, schemas.Ack]) error {
				return c.Publish("conclusions", &schemas.Ack{Messageid: c.Task.Messageid, Source: c.Winner}, agents.Key(c.ID))
			})
		agents.On(a, func(ctx context.Context, m *agents.Message[schemas.Ack]) error {
			_, err := mgr.Call(ctx, m, m.Payload, marketBidders, contractnet.ID(m.Payload.Messageid))
			return err
		})
		return a, mgr
	}
	luck := func(task string, of int) int {
		h := uint32(2166136261)
		for _, c := range []byte(name + task) {
			h = (h ^ uint32(c)) * 16777619
		}
		return int(h>>8) % of
	}
	contractnet.Bid(a, "work", func(_ context.Context, c *contractnet.Call[schemas.Ack]) (contractnet.Offer, error) {
		if luck(c.Task.Messageid, 7) == 0 {
			return contractnet.Refuse("busy"), nil
		}
		return contractnet.Cost(float64(luck(c.Task.Messageid, 3))), nil
	}, func(ctx context.Context, j *contractnet.Job[schemas.Ack]) (schemas.Ack, error) {
		time.Sleep(time.Duration(luck(j.Task.Messageid, 100)) * time.Millisecond)
		switch luck("works"+j.Task.Messageid, 6) {
		case 0:
			return schemas.Ack{}, &contractnet.FailedError{Reason: "no luck"}
		case 1:
			return schemas.Ack{}, agents.Permanent(errors.New("broken"))
		case 2:
			<-ctx.Done()
			return schemas.Ack{}, ctx.Err()
		}
		return schemas.Ack{Messageid: j.ID(), Source: name}, nil
	})
	return a, nil
}

// TestContractNetOnKafka kills and restarts the processes of a manager and its
// bidders while they negotiate: each negotiation has one conclusion, which is what
// the inbox says again.
func TestContractNetOnKafka(t *testing.T) {
	broker, registry := cluster.SharedKafka(t), cluster.SharedRegistry(t)
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactlyOnce), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			ns := fmt.Sprintf("market-%t", exactlyOnce)
			p, err := marketPlatform(t.Context(), broker.Bootstrap(), registry.URL, ns)
			if err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(kgo.SeedBrokers(broker.Bootstrap()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 3, 1, nil, ns+".events.conclusions"); err != nil {
				t.Fatal(err)
			}
			names := append([]string{"boss"}, marketBidders...)
			var spawned []*exec.Cmd
			spawn := func(slot int) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), marketVariable+"="+strings.Join([]string{
					broker.Bootstrap(), registry.URL, ns, fmt.Sprint(exactlyOnce), names[slot/2], fmt.Sprint(slot),
				}, " "))
				cmd.Stderr = os.Stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				spawned[slot] = cmd
			}
			spawned = make([]*exec.Cmd, 2*len(names))
			end := func(slot int) {
				_ = spawned[slot].Process.Kill()
				_ = spawned[slot].Wait()
			}
			for slot := range spawned {
				spawn(slot)
				defer func() { end(slot) }()
			}
			sender, err := p.Sender("source")
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			const tasks = 60
			r := rand.New(rand.NewPCG(seed, 0))
			for i := range tasks {
				eventually(t, func() error {
					id := fmt.Sprintf("task-%d", i)
					return sender.Send(t.Context(), sender.ToAgent("boss", &schemas.Ack{Messageid: id}, agents.ID(id), agents.Key(id)))
				})
				time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond) // load over the time of the kills
				if i%8 == 7 {
					slot := r.IntN(len(spawned))
					end(slot)
					spawn(slot)
				}
			}
			log, err := kafka.NewLog(kafka.Config{Brokers: []string{broker.Bootstrap()}})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			published := make(map[string]map[string]string) // by task: IDs of its conclusions, and the winner
			deadline := time.Now().Add(75 * time.Second)
			for len(published) < tasks {
				if time.Now().After(deadline) {
					t.Fatalf("%d of %d negotiations are concluded", len(published), tasks)
				}
				time.Sleep(200 * time.Millisecond) // polls a condition on the broker
				clear(published)
				for _, rec := range scanAll(t, log, ns+".events.conclusions") {
					var a schemas.Ack
					env, err := schemas.DecodeEnvelope(&rec)
					if err == nil {
						err = p.Codec().Decode(t.Context(), rec.Value, &a, env.Type)
					}
					if err != nil {
						t.Fatal(err)
					}
					if published[a.Messageid] == nil {
						published[a.Messageid] = make(map[string]string)
					}
					published[a.Messageid][env.ID] = a.Source
				}
			}
			judgeMarket(t, p, ns, log, published)
		})
	}
}

func judgeMarket(t *testing.T, p *agents.Platform, ns string, log *kafka.Log, published map[string]map[string]string) {
	t.Helper()
	awarded := make(map[string][]string) // by negotiation: agent and award, in no order
	for _, name := range marketBidders {
		seen := make(map[string]bool)
		for _, rec := range scanAll(t, log, ns+".inbox."+name) {
			env, err := schemas.DecodeEnvelope(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if env.Type == "parley.negotiation.award" && !seen[env.ID] {
				seen[env.ID] = true
				awarded[string(rec.Key)] = append(awarded[string(rec.Key)], name+" "+env.ID)
			}
		}
	}
	_, mgr := marketAgent("boss", agents.Config{})
	inbox := ns + ".inbox.boss"
	records := append(scanAll(t, log, inbox), scanAll(t, log, streaming.DeadLetterTopic(inbox, "boss"))...)
	replayed, err := mgr.Replay(t.Context(), p.Codec(), streaming.Namespace(ns), "boss", records)
	if err != nil {
		t.Fatal(err)
	}
	if len(replayed) != len(published) {
		t.Errorf("%d negotiations are replayed, %d were published", len(replayed), len(published))
	}
	outcomes := make(map[string]int)
	for _, n := range replayed {
		outcomes[n.Negotiation.Phase]++
		outcomes["awards"] += len(n.Awards)
		outcomes["awards again"] += max(len(n.Awards)-1, 0)
		var want []string
		for _, a := range n.Awards {
			want = append(want, a.Agent+" "+a.ID)
		}
		slices.Sort(want)
		got := awarded[n.ID]
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s was awarded to %v, replayed to %v", n.ID, got, want)
		}
		if len(published[n.ID]) != 1 {
			t.Errorf("%s is concluded %d times", n.ID, len(published[n.ID]))
		}
		for _, winner := range published[n.ID] {
			if winner != n.Negotiation.Winner {
				t.Errorf("%s: the winner is %q, replayed %q", n.ID, winner, n.Negotiation.Winner)
			}
		}
	}
	if outcomes[contractnet.OutcomeDone] == 0 || outcomes["awards again"] == 0 {
		t.Error("no task was done, or none awarded again")
	}
	t.Logf("%v", outcomes)
}

// scanAll is what stands in a topic now, as a read_committed reader sees it.
func scanAll(t testing.TB, log *kafka.Log, topic string) (all []streaming.Record) {
	t.Helper()
	ends, err := log.EndOffsets(t.Context(), topic)
	if errors.Is(err, streaming.ErrUnknownTopic) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	starts, err := log.StartOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var ranges []kafka.Range
	for tp, end := range ends {
		ranges = append(ranges, kafka.Range{TopicPartition: tp, From: starts[tp], To: end})
	}
	if err := log.Scan(t.Context(), ranges, func(rec streaming.Record) { all = append(all, rec.Clone()) }); err != nil {
		t.Fatal(err)
	}
	return all
}
