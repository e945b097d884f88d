//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// place is a broker and a registry for one test, with a namespace of its own.
type place struct {
	parley    built
	broker    string
	registry  string
	namespace streaming.Namespace
	platform  *agents.Platform
}

// onEachBroker runs a test on the embedded broker, as `parley broker` serves it,
// and on Kafka.
func onEachBroker(t *testing.T, test func(*testing.T, *place)) {
	t.Helper()
	parley := buildParley(t)
	t.Run("embedded", func(t *testing.T) {
		b := parley.broker(t)
		test(t, newPlace(t, parley, b.Brokers[0], b.Registry))
	})
	t.Run("kafka", func(t *testing.T) {
		test(t, newPlace(t, parley, cluster.SharedKafka(t).Bootstrap(), cluster.SharedRegistry(t).URL))
	})
}

func newPlace(t *testing.T, parley built, broker, registry string) *place {
	t.Helper()
	p := &place{parley: parley, broker: broker, registry: registry, namespace: streaming.Namespace(cluster.Name(t))}
	reg, err := schemas.NewRegistry(registry, schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reg.Close)
	p.platform, err = agents.Connect(t.Context(), agents.PlatformConfig{
		Brokers: []string{broker}, Schemas: reg, Namespace: p.namespace, Partitions: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs a command of parley's that needs the log.
func (p *place) run(t *testing.T, args ...string) string {
	t.Helper()
	return p.parley.run(t, append(args, "--brokers", p.broker, "--namespace", string(p.namespace))...)
}

// start runs an agent until the test ends. It returns when the agent has its
// partitions.
func (p *place) start(t *testing.T, a *agents.Agent) {
	t.Helper()
	w, err := p.platform.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var once sync.Once
	wait := func() {
		once.Do(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(wait)
	select {
	case <-w.Ready():
	case err := <-ended:
		ended <- err
		wait()
		t.FailNow()
	case <-time.After(time.Minute):
		t.Fatal("the agent has no partitions after a minute")
	}
}

func (p *place) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(p.broker))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// records are all that stand in a topic.
func (p *place) records(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := p.client(t, kgo.ConsumeTopics(topic))
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var recs []*kgo.Record
	for int64(len(recs)) < left {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records of %s: %v", len(recs), left, topic, err)
		}
		recs = append(recs, fetches.Records()...)
	}
	return recs
}

// settled waits until a group has committed all that stands in a topic.
func (p *place) settled(t *testing.T, group, topic string) {
	t.Helper()
	admin := kadm.NewClient(p.client(t))
	eventually(t, func() error {
		ends, err := admin.ListEndOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		committed, err := admin.FetchOffsets(t.Context(), group)
		if err != nil {
			return err
		}
		behind := int64(0)
		ends.Each(func(o kadm.ListedOffset) {
			c, _ := committed.Lookup(topic, o.Partition)
			behind += o.Offset - c.At
		})
		if behind > 0 {
			return fmt.Errorf("group %s has not settled %d records of %s", group, behind, topic)
		}
		return nil
	})
}

func header(rec *kgo.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// await is the next value, within a minute.
func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("no %s after a minute", what)
		panic("unreachable")
	}
}

// built is the command, built for one test.
type built struct{ path string }

func buildParley(t *testing.T) built {
	t.Helper()
	b := built{filepath.Join(t.TempDir(), "parley")}
	if out, err := exec.Command("go", "build", "-o", b.path, "../cmd/parley").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return b
}

func (b built) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, b.path, args...)
}

// run returns what the command prints.
func (b built) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.command(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("parley %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

type servedBroker struct {
	Brokers  []string
	Registry string
}

// broker runs `parley broker` until the test ends, and wants a clean end.
func (b built) broker(t *testing.T) servedBroker {
	t.Helper()
	cmd := b.command(t, "broker", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the broker's end: %v", err)
		}
	})
	var served servedBroker
	if err := json.NewDecoder(out).Decode(&served); err != nil {
		t.Fatal(err)
	}
	return served
}
