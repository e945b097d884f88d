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

// TestKcatListsProducesConsumes uses `parley broker` as it uses Kafka.
func TestKcatListsProducesConsumes(t *testing.T) {
	onEachBroker(t, func(t *testing.T, p *place) {
		p.run(t, "topics", "apply", "--agent", "echo", "--partitions", "3")
		inbox := p.namespace.Inbox("echo")
		if got := kcat(t, "", "-b", p.broker, "-L"); !strings.Contains(got, `topic "`+inbox+`" with 3 partitions:`) {
			t.Errorf("kcat lists:\n%s", got)
		}
		kcat(t, "k1:one\nk2:two\nk1:three\n", "-b", p.broker, "-P", "-t", inbox, "-K:", "-X", "topic.partitioner=murmur2_random")
		got := kcat(t, "", "-b", p.broker, "-C", "-e", "-q", "-t", inbox, "-o", "beginning", "-f", `%p %k %s\n`)
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
	})
}

// TestKcatReachesAnAgent writes a record with the contract's headers and a value
// made by hand: it is handled, and what is sent in answer kcat reads.
func TestKcatReachesAnAgent(t *testing.T) {
	onEachBroker(t, kcatReachesAnAgent)
}

func kcatReachesAnAgent(t *testing.T, p *place) {
	handled := make(chan *agents.Message[schemas.ErrorReply], 1)
	echo := agents.New("echo", agents.Config{})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		handled <- m
		return m.Publish("heard", &schemas.ErrorReply{Reason: "unknown", Message: "heard " + m.Payload.Message})
	})
	p.run(t, "topics", "apply", "--agent", "listener", "--streams", "heard", "--partitions", "1")
	p.start(t, echo)

	id := registerByHand(t, p.registry, "parley.ErrorReply", `{"type":"record","name":"ErrorReply","namespace":"parley","parley.type":"agent.error","fields":[{"name":"reason","type":"string"},{"name":"message","type":"string"}]}`)
	value := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	for _, s := range []string{"unknown", "hello from kcat"} {
		value = append(binary.AppendVarint(value, int64(len(s))), s...)
	}
	file := filepath.Join(t.TempDir(), "value.bin")
	if err := os.WriteFile(file, value, 0o600); err != nil {
		t.Fatal(err)
	}
	kcat(t, "", "-b", p.broker, "-P", "-t", p.namespace.Inbox("echo"), "-k", "talk-1", "-X", "topic.partitioner=murmur2_random",
		"-H", "ce_specversion=1.0", "-H", "ce_id=kcat-1", "-H", "ce_source=shell", "-H", "ce_type=agent.error", "-H", "ce_correlationid=talk-1", file)
	m := await(t, handled, "message at the agent")
	if m.ID() != "kcat-1" || m.Envelope.Source != "shell" || m.Key != "talk-1" || m.Payload.Message != "hello from kcat" {
		t.Errorf("the agent got %+v, key %q, payload %+v", m.Envelope, m.Key, m.Payload)
	}

	// One record is awaited, and its headers are read as they are.
	got := kcat(t, "", "-b", p.broker, "-C", "-q", "-c", "1", "-t", p.namespace.Events("heard"), "-o", "beginning", "-f", `%k|%h\n`)
	if !strings.HasPrefix(got, "talk-1|") || !strings.Contains(got, "ce_source=echo") || !strings.Contains(got, "ce_causationid=kcat-1") {
		t.Errorf("kcat reads of what the agent sent: %s", got)
	}
	// And people read both.
	for args, want := range map[string]string{"--agent echo": "hello from kcat", "--stream heard": "heard hello from kcat"} {
		out := p.run(t, append([]string{"tail", "--registry", p.registry}, strings.Fields(args)...)...)
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
