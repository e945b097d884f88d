package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// childDir makes this test binary a server on that folder, childListen gives
// its broker a fixed address.
const (
	childDir    = "PARLEY_EMBEDDED_TEST_DIR"
	childListen = "PARLEY_EMBEDDED_TEST_LISTEN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		serveUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

type addresses struct {
	Broker, Registry, Err string
}

// serveUntilKilled prints its addresses and serves until its input ends.
func serveUntilKilled(dir string) {
	s, err := embedded.Start(context.Background(), embedded.Config{Dir: dir, Listen: os.Getenv(childListen)})
	var a addresses
	if err != nil {
		a.Err = err.Error()
	} else {
		a = addresses{Broker: s.Brokers()[0], Registry: s.RegistryURL()}
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil || a.Err != "" {
		os.Exit(1)
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // ends with the parent
	os.Exit(0)
}

// child is a server in a process of its own.
type child struct {
	addresses
	cmd *exec.Cmd
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	return startChildAt(t, dir, "")
}

func startChildAt(t *testing.T, dir, listen string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childListen+"="+listen)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c := &child{cmd: cmd}
	t.Cleanup(func() {
		_ = in.Close()
		c.kill()
	})
	must(t, json.NewDecoder(out).Decode(&c.addresses))
	return c
}

// kill sends SIGKILL and waits until the process is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(t, s.Close(ctx))
}

func client(t *testing.T, broker string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker)}, opts...)...)
	must(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, topic string, partitions int32, configs map[string]*string) {
	t.Helper()
	resp, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, configs, topic)
	must(t, err)
	must(t, resp.Err)
}

// produce writes n records and returns the offset of the last.
func produce(t *testing.T, cl *kgo.Client, topic string, n int) int64 {
	t.Helper()
	var last int64
	for i := range n {
		r, err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "value %d", i)}).First()
		must(t, err)
		last = r.Offset
	}
	return last
}

// fetchAll reads a partition from its start to its end at the time of the call.
func fetchAll(t *testing.T, broker, topic string, partition int32) []*kgo.Record {
	t.Helper()
	cl := client(t, broker,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxWait(50*time.Millisecond))
	defer cl.Close()
	begin, end := bounds(t, cl, topic, partition)
	var records []*kgo.Record
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for next := begin; next < end; {
		fetches := cl.PollFetches(ctx)
		must(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			next = r.Offset + 1
		})
	}
	return records
}

// bounds returns the log start and the end offset of a partition.
func bounds(t *testing.T, cl *kgo.Client, topic string, partition int32) (begin, end int64) {
	t.Helper()
	adm := kadm.NewClient(cl)
	begins, err := adm.ListStartOffsets(t.Context(), topic)
	must(t, err)
	ends, err := adm.ListEndOffsets(t.Context(), topic)
	must(t, err)
	b, ok := begins.Lookup(topic, partition)
	if !ok || b.Err != nil {
		t.Fatalf("no start offset of %s/%d: %v", topic, partition, b.Err)
	}
	e, ok := ends.Lookup(topic, partition)
	if !ok || e.Err != nil {
		t.Fatalf("no end offset of %s/%d: %v", topic, partition, e.Err)
	}
	return b.Offset, e.Offset
}

func trimTo(t *testing.T, cl *kgo.Client, topic string, offset int64) {
	t.Helper()
	resps, err := kadm.NewClient(cl).DeleteRecords(t.Context(), offsetsOf(topic, 0, offset))
	must(t, err)
	must(t, resps.Error())
}

func offsetsOf(topic string, partition int32, at int64) kadm.Offsets {
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: topic, Partition: partition, At: at, LeaderEpoch: -1})
	return os
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr(s string) *string { return &s }
