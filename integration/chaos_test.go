//go:build integration

package integration

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/integration/internal/chaos"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

var (
	chaosLong = flag.Bool("chaos-long", false, "the long form of TestChaos: see docs/testing.md")
	chaosPart = flag.Float64("chaos-part", 1, "the part of a run of TestChaos that is made: of its messages, its time and its faults")
	chaosSeed = flag.Uint64("chaos-seed", 0, "seed of TestChaos; 0: a new one")
	chaosCalm = flag.Bool("chaos-calm", false, "TestChaos without faults: what the machine gives")
	chaosDir  = flag.String("chaos-dir", "../bin/chaos", "where TestChaos keeps logs and its report")
)

// TestChaos mistreats three brokers and the workers on them, under load, and
// judges from the topics alone. The short form makes its runs side by side, the
// long one each for itself.
func TestChaos(t *testing.T) {
	site := chaosSite(t)
	t.Cleanup(func() {
		results, err := chaos.ReadResults(site.Dir, site.Commit)
		if err != nil {
			t.Error(err)
		}
		summary := chaos.Summary(results)
		if err := os.WriteFile(filepath.Join(site.Dir, "summary-"+site.Commit+".txt"), []byte(summary), 0o644); err != nil {
			t.Error(err)
		}
		t.Logf("all runs of this commit, from %s:\n%s", filepath.Join(site.Dir, chaos.ReportFile), summary)
	})
	for _, sc := range scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			if !*chaosLong {
				t.Parallel()
			}
			sc.Seed = *chaosSeed
			if sc.Seed == 0 {
				sc.Seed = rand.Uint64()
			}
			t.Logf("seed %d; -chaos-seed draws the same faults and fates", sc.Seed)
			sc = sc.Part(*chaosPart)
			if *chaosCalm {
				sc.Faults = chaos.Faults{}
			}
			for i, agent := range sc.Agents {
				sc.Agents[i] = fmt.Sprintf("%s-%06x", agent, rand.N(1<<24))
			}
			r, err := site.Run(t.Context(), sc, t.Logf)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range r.Other {
				t.Error(o)
			}
			if !r.Passed {
				t.Errorf("%d lost, %d duplicates, %d out of order, %d wrong ends, %d strangers", r.Lost, r.Duplicates, r.Disorder, r.WrongEnds, r.Strangers)
			}
			if r.Redeliveries == 0 {
				t.Error("no redelivery: nothing was put to the test")
			}
		})
	}
}

// scenarios: chains of two agents, where what the first puts out the second acts
// upon, once; and copies by one agent, each under bounces of one sort.
func scenarios() []chaos.Scenario {
	const sec = time.Second
	chain := func() []string { return []string{"copy", "act"} }
	single := func() []string { return []string{"copy"} }
	if *chaosLong {
		load := chaos.Load{Messages: 450_000, Keys: 5000, Over: 200 * sec, Resend: 0.005}
		copies := chaos.Load{Messages: 100_000, Keys: 5000, Over: 60 * sec, Resend: 0.005}
		all := chaos.Faults{
			Kills: 9, Restarts: 2, Freezes: 7, Cuts: 8, BrokerKills: 2, BrokerRestarts: 3, BrokerCuts: 2,
			FreezeFor: span(30*sec, 60*sec), CutFor: span(1*sec, 60*sec),
		}
		unfrozen := all // no owner is frozen out: cuts are shorter than the session
		unfrozen.Freezes, unfrozen.CutFor = 0, span(1*sec, 12*sec)
		return []chaos.Scenario{
			{Name: "chain-exactly-once", Agents: chain(), Workers: 5, Load: load, Settle: 5 * time.Minute, Session: 12 * sec, Faults: all},
			{Name: "chain-exactly-once-kip-848", Agents: chain(), Workers: 5, Load: load, Settle: 5 * time.Minute, Protocol: kafka.ProtocolConsumer, Faults: all},
			{Name: "chain-at-least-once", Agents: chain(), Workers: 5, Load: load, Settle: 5 * time.Minute, Session: 20 * sec, AtLeastOnce: true, Faults: unfrozen},
			{Name: "chain-at-least-once-frozen", Agents: chain(), Workers: 5, Load: load, Settle: 5 * time.Minute, Session: 12 * sec, AtLeastOnce: true, Faults: all},
			{Name: "copy-brokers-killed", Agents: single(), Workers: 3, Load: copies, Settle: 2 * time.Minute, Faults: chaos.Faults{BrokerKills: 4}},
			{Name: "copy-brokers-restarted", Agents: single(), Workers: 3, Load: copies, Settle: 2 * time.Minute, Faults: chaos.Faults{BrokerRestarts: 4}},
			{Name: "copy-workers-killed", Agents: single(), Workers: 3, Load: copies, Settle: 2 * time.Minute, Session: 10 * sec, Faults: chaos.Faults{Kills: 10}},
			{Name: "copy-workers-restarted", Agents: single(), Workers: 3, Load: copies, Settle: 2 * time.Minute, Faults: chaos.Faults{Restarts: 10}},
		}
	}
	load := chaos.Load{Messages: 6_000, Keys: 1000, Over: 25 * sec, Resend: 0.01}
	copies := chaos.Load{Messages: 3_000, Keys: 1000, Over: 25 * sec, Resend: 0.01}
	return []chaos.Scenario{
		{
			Name: "chain-exactly-once", Agents: chain(), Workers: 4, Load: load, Settle: 2 * time.Minute, Session: 6 * sec,
			Faults: chaos.Faults{
				Kills: 3, Freezes: 2, Cuts: 3, BrokerCuts: 1, FreezeFor: span(8*sec, 12*sec), CutFor: span(1*sec, 9*sec),
			},
		},
		{
			Name: "chain-at-least-once", Agents: chain(), Workers: 3, Load: load, Settle: 2 * time.Minute, Session: 10 * sec, AtLeastOnce: true,
			Faults: chaos.Faults{Kills: 3, Restarts: 1, Cuts: 2, CutFor: span(1*sec, 5*sec)},
		},
		{Name: "copy-brokers-bounced", Agents: single(), Workers: 2, Load: copies, Settle: 2 * time.Minute, Faults: chaos.Faults{BrokerKills: 1, BrokerRestarts: 1}},
		{Name: "copy-workers-bounced", Agents: single(), Workers: 2, Load: copies, Settle: 2 * time.Minute, Session: 6 * sec, Faults: chaos.Faults{Kills: 3, Restarts: 3}},
	}
}

func span(from, to time.Duration) [2]time.Duration { return [2]time.Duration{from, to} }

// chaosSite is three brokers behind a front, and a registry that stays out of it.
func chaosSite(t *testing.T) *chaos.Site {
	t.Helper()
	front := chaos.NewFront()
	t.Cleanup(front.Close)
	brokers := cluster.StartKafka(t, cluster.KafkaOptions{
		Brokers: 3, Front: front,
		Env: map[string]string{
			"KAFKA_HEAP_OPTS":                                    "-Xms256m -Xmx640m -Dsun.net.inetaddress.ttl=1", // a broker that rejoins has another address
			"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":                 "6",
			"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":         "6",
			"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS": "1",
		},
	})
	schemas, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = schemas.Close(context.Background()) })
	if err := os.MkdirAll(*chaosDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &chaos.Site{
		Addresses: strings.Split(brokers.Bootstrap(), ","), Registry: schemas.RegistryURL(),
		Front: front, Brokers: brokers, Dir: *chaosDir, Commit: commit(),
	}
}

// commit is what is tested, as the report names it.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
