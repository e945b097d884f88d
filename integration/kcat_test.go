//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// kcat is the neighbour's client: librdkafka, with no code of ours.
func kcat(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
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

// TestKcatListsProducesConsumes uses `parley broker` as any Kafka.
func TestKcatListsProducesConsumes(t *testing.T) {
	parley := buildParley(t)
	b := parley.broker(t)
	broker := b.Brokers[0]
	parley.run(t, "topics", "apply", "--agent", "echo", "--partitions", "3", "--brokers", broker)
	const inbox = "parley.inbox.echo"
	if got := kcat(t, "", "-b", broker, "-L"); !strings.Contains(got, `topic "`+inbox+`" with 3 partitions:`) {
		t.Errorf("kcat lists:\n%s", got)
	}
	kcat(t, "k1:one\nk2:two\nk1:three\n", "-b", broker, "-P", "-t", inbox, "-K:", "-X", "topic.partitioner=murmur2_random")
	got := kcat(t, "", "-b", broker, "-C", "-e", "-q", "-t", inbox, "-o", "beginning", "-f", `%p %k %s\n`)
	partition := map[string]string{}
	var values []string
	for line := range strings.Lines(got) {
		f := strings.Fields(line)
		if len(f) != 3 || partition[f[1]] != "" && partition[f[1]] != f[0] {
			t.Fatalf("kcat consumes:\n%s", got)
		}
		partition[f[1]] = f[0]
		values = append(values, f[2])
	}
	if len(values) != 3 || strings.Index(got, "one") > strings.Index(got, "three") {
		t.Errorf("kcat consumes:\n%s", got)
	}
}

// TestKcatReachesAnAgent writes a record with the contract's headers and a value
// made by hand: it is handled, and what is sent in answer kcat reads.
func TestKcatReachesAnAgent(t *testing.T) {
	parley := buildParley(t)
	b := parley.broker(t)
	broker := b.Brokers[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reg, err := schemas.NewRegistry(b.Registry, schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: b.Brokers, Schemas: reg, Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan *agents.Message[schemas.ErrorReply], 1)
	echo := agents.New("echo", agents.Config{})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		handled <- m
		return m.Publish("heard", &schemas.ErrorReply{Reason: "unknown", Message: "heard " + m.Payload.Message})
	})
	parley.run(t, "topics", "apply", "--agent", "listener", "--streams", "heard", "--partitions", "1", "--brokers", broker)
	w, err := platform.Worker(echo)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	id := registerByHand(t, b.Registry, "parley.ErrorReply", `{"type":"record","name":"ErrorReply","namespace":"parley","parley.type":"agent.error","fields":[{"name":"reason","type":"string"},{"name":"message","type":"string"}]}`)
	value := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	for _, s := range []string{"unknown", "hello from kcat"} {
		value = append(binary.AppendVarint(value, int64(len(s))), s...)
	}
	file := filepath.Join(t.TempDir(), "value.bin")
	if err := os.WriteFile(file, value, 0o600); err != nil {
		t.Fatal(err)
	}
	// The topics are there once the agent owns its partitions.
	select {
	case <-w.Ready():
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	kcat(t, "", "-b", broker, "-P", "-t", "parley.inbox.echo", "-k", "talk-1", "-X", "topic.partitioner=murmur2_random",
		"-H", "ce_specversion=1.0", "-H", "ce_id=kcat-1", "-H", "ce_source=shell", "-H", "ce_type=agent.error", "-H", "ce_correlationid=talk-1", file)
	select {
	case m := <-handled:
		if m.ID() != "kcat-1" || m.Envelope.Source != "shell" || m.Key != "talk-1" || m.Payload.Message != "hello from kcat" {
			t.Errorf("the agent got %+v, key %q, payload %+v", m.Envelope, m.Key, m.Payload)
		}
	case <-ctx.Done():
		t.Fatal("the record did not reach the agent")
	}

	// One record is awaited, and its headers are read as they are.
	got := kcat(t, "", "-b", broker, "-C", "-q", "-c", "1", "-t", "parley.events.heard", "-o", "beginning", "-f", `%k|%h\n`)
	if !strings.HasPrefix(got, "talk-1|") || !strings.Contains(got, "ce_source=echo") || !strings.Contains(got, "ce_causationid=kcat-1") {
		t.Errorf("kcat reads of what the agent sent: %s", got)
	}
	// And people read both.
	for args, want := range map[string]string{"--agent echo": "hello from kcat", "--stream heard": "heard hello from kcat"} {
		out := parley.run(t, append([]string{"tail", "--brokers", broker, "--registry", b.Registry}, strings.Fields(args)...)...)
		if !strings.Contains(out, want) {
			t.Errorf("parley tail %s:\n%s", args, out)
		}
	}
}

// registerByHand registers a schema as any HTTP client would.
func registerByHand(t *testing.T, registry, subject, schema string) (id int) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Post(registry+"/subjects/"+subject+"/versions", "application/vnd.schemaregistry.v1+json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(resp.Body)
	var registered struct{ ID int }
	if err := json.Unmarshal(answer, &registered); err != nil || registered.ID == 0 {
		t.Fatalf("register %s: %s", subject, answer)
	}
	return registered.ID
}
