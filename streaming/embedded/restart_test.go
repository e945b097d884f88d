package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// ending is a way in which a server ends; the next start has the same state.
type ending struct {
	name string
	// run starts a server on dir, lets use work on it and ends it.
	run func(t *testing.T, dir string, use func(broker, registry string))
}

var endings = []ending{
	{"close", func(t *testing.T, dir string, use func(broker, registry string)) {
		t.Helper()
		s := start(t, embedded.Config{Dir: dir})
		use(s.Brokers()[0], s.RegistryURL())
		stop(t, s)
	}},
	{"SIGKILL", func(t *testing.T, dir string, use func(broker, registry string)) {
		t.Helper()
		c := startChild(t, dir)
		use(c.Broker, c.Registry)
		c.kill()
	}},
}

func forEachEnding(t *testing.T, test func(t *testing.T, e ending)) {
	t.Helper()
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

func TestRestartKeepsTopicsRecordsAndCommits(t *testing.T) {
	t.Parallel()
	forEachEnding(t, func(t *testing.T, e ending) {
		dir := t.TempDir()
		e.run(t, dir, func(broker, _ string) {
			cl := client(t, broker)
			createTopic(t, cl, "kept", 3, map[string]*string{"retention.ms": ptr("-1"), "max.message.bytes": ptr("2000000")})
			produce(t, cl, "kept", 30)
			must(t, kadm.NewClient(cl).CommitAllOffsets(t.Context(), "group", offsetsOf("kept", 1, 7)))
			cl.Close()
		})
		e.run(t, dir, func(broker, _ string) {
			cl := client(t, broker)
			adm := kadm.NewClient(cl)
			var n int
			for p := range int32(3) {
				n += len(fetchAll(t, broker, "kept", p))
			}
			if n != 30 {
				t.Errorf("%d records after the restart, want 30", n)
			}
			configs, err := adm.DescribeTopicConfigs(t.Context(), "kept")
			must(t, err)
			rc, err := configs.On("kept", nil)
			must(t, err)
			for _, c := range rc.Configs {
				if c.Key == "max.message.bytes" && *c.Value != "2000000" {
					t.Errorf("max.message.bytes = %s after the restart", *c.Value)
				}
			}
			offsets, err := adm.FetchOffsets(t.Context(), "group")
			must(t, err)
			if o, ok := offsets.Lookup("kept", 1); !ok || o.At != 7 {
				t.Errorf("committed offset %v, want 7", o.At)
			}
			cl.Close()
		})
	})
}

// The platform trims ledgers and retry topics to their end. Without care the
// broker would start such a partition again at offset 0.
func TestRestartKeepsLogStartAndEnd(t *testing.T) {
	t.Parallel()
	forEachEnding(t, func(t *testing.T, e ending) {
		dir := t.TempDir()
		e.run(t, dir, func(broker, _ string) {
			cl := client(t, broker)
			for topic, to := range map[string]int64{"part": 4, "all": 10, "by-end": -1} {
				createTopic(t, cl, topic, 1, nil)
				produce(t, cl, topic, 10)
				trimTo(t, cl, topic, to)
			}
			// A topic created again under its name must not inherit anything.
			createTopic(t, cl, "again", 1, nil)
			produce(t, cl, "again", 10)
			trimTo(t, cl, "again", 10)
			deleted, err := kadm.NewClient(cl).DeleteTopic(t.Context(), "again")
			must(t, err)
			must(t, deleted.Err)
			createTopic(t, cl, "again", 1, nil)
			cl.Close()
		})
		want := map[string][2]int64{"part": {4, 10}, "all": {10, 10}, "by-end": {10, 10}, "again": {0, 0}}
		for range 2 { // what is restored must itself survive
			e.run(t, dir, func(broker, _ string) {
				cl := client(t, broker)
				for topic, w := range want {
					if begin, end := bounds(t, cl, topic, 0); begin != w[0] || end != w[1] {
						t.Errorf("%s has offsets %d to %d, want %d to %d", topic, begin, end, w[0], w[1])
					}
				}
				cl.Close()
			})
		}
		e.run(t, dir, func(broker, _ string) {
			cl := client(t, broker)
			if got := produce(t, cl, "all", 1); got != 10 {
				t.Errorf("next record got offset %d, want 10", got)
			}
			cl.Close()
		})
		e.run(t, dir, func(broker, _ string) {
			if rs := fetchAll(t, broker, "all", 0); len(rs) != 1 || rs[0].Offset != 10 {
				t.Errorf("found %d records after the emptied partition's restart, want the one at 10", len(rs))
			}
		})
	})
}

// A process killed between creating a segment and writing to it.
func TestRestartWithEmptySegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, embedded.Config{Dir: dir})
	cl := client(t, s.Brokers()[0])
	createTopic(t, cl, "a", 1, nil)
	produce(t, cl, "a", 5)
	trimTo(t, cl, "a", -1)
	cl.Close()
	stop(t, s)
	for _, content := range []string{"", "torn batch"} {
		must(t, os.WriteFile(filepath.Join(dir, "broker", "partitions", "a-0", "5.dat"), []byte(content), 0o644))
		s = start(t, embedded.Config{Dir: dir})
		cl = client(t, s.Brokers()[0])
		if begin, end := bounds(t, cl, "a", 0); begin != 5 || end != 5 {
			t.Errorf("offsets %d to %d, want 5 to 5", begin, end)
		}
		cl.Close()
		stop(t, s)
	}
}

// The broker goes on appending behind a torn commit, and would lose all later
// commits at the start after next.
func TestTornCommitIsCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	commit := func(at int64) {
		c := startChild(t, dir) // killed, or the orderly end would write the log anew
		cl := client(t, c.Broker)
		adm := kadm.NewClient(cl)
		if at == 1 {
			createTopic(t, cl, "a", 1, nil)
		}
		must(t, adm.CommitAllOffsets(t.Context(), "g", offsetsOf("a", 0, at)))
		cl.Close()
		c.kill()
	}
	commit(1)
	log := filepath.Join(dir, "broker", "groups.log")
	data, err := os.ReadFile(log)
	must(t, err)
	must(t, os.WriteFile(log, append(data, data[:20]...), 0o644))
	commit(2)
	s := start(t, embedded.Config{Dir: dir})
	cl := client(t, s.Brokers()[0])
	offsets, err := kadm.NewClient(cl).FetchOffsets(t.Context(), "g")
	must(t, err)
	if o, _ := offsets.Lookup("a", 0); o.At != 2 {
		t.Errorf("committed offset %d after a torn entry, want 2", o.At)
	}
}

// A producer outlives an orderly restart and then a crash of the broker. Left
// in place, what the orderly end wrote about producers would make the broker
// refuse it after the crash, which takes it seconds to get over.
func TestProducerOutlivesBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, embedded.Config{Dir: dir})
	addr := s.Brokers()[0]
	cl := client(t, addr, kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
	createTopic(t, cl, "a", 1, nil)
	produce(t, cl, "a", 3)
	stop(t, s)

	c := startChildAt(t, dir, addr)
	if c.Broker != addr {
		t.Fatalf("listens on %s, want %s", c.Broker, addr)
	}
	produce(t, cl, "a", 3)
	c.kill()
	if _, err := os.Stat(filepath.Join(dir, "broker", "seq_windows.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the producers' state of the orderly end is still there: %v", err)
	}

	startChildAt(t, dir, addr)
	if got := produce(t, cl, "a", 3); got != 8 {
		t.Errorf("offset of the ninth record %d, want 8", got)
	}
	if rs := fetchAll(t, addr, "a", 0); len(rs) != 9 {
		t.Errorf("%d records, want 9", len(rs))
	}
}

func TestTopicsAreNotCreatedOnUse(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	cl := client(t, s.Brokers()[0], kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "nobody-made-this"}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("produce to an unknown topic: %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

func TestCloseIsIdempotentAndFreesPorts(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{Dir: t.TempDir()})
	cl := client(t, s.Brokers()[0])
	createTopic(t, cl, "a", 1, nil)
	results := make(chan error)
	for range 3 {
		go func() { results <- s.Close(context.Background()) }()
	}
	for range 3 {
		must(t, <-results)
	}
	for _, addr := range []string{s.Brokers()[0], strings.TrimPrefix(s.RegistryURL(), "http://")} {
		ln, err := net.Listen("tcp", addr)
		must(t, err)
		_ = ln.Close()
	}
}

func TestCloseIsBoundedByItsContext(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Config{})
	must(t, err)
	// A request that never ends keeps an orderly shutdown waiting.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.RegistryURL(), "http://"))
	must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("POST /subjects/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_ = s.Close(ctx) // in time or not, it returns
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("close took %v", took)
	}
	_ = s.Close(t.Context()) // waits for the rest
}
