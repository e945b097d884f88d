package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

func lastOf(t *testing.T, s *embedded.Server, where ...string) recordView {
	t.Helper()
	var v recordView
	out := runIn(t, s, append([]string{"tail", "-n", "1", "--json"}, where...)...).ok(t).stdout
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return v
}

func TestSend(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "echo", "--streams", "notes", "--tiers", "1s", "--partitions", "2").ok(t)
	id := register(t, s, "demo.Note", noteSchema)

	out := runIn(t, s, "send", "--to", "echo", "--type", "note.taken", "--payload", `{"text":"hi"}`, "--id", "n-1", "--key", "k",
		"--from", "reader", "--kind", "request", "--correlation", "talk", "--ack", "handled", "--json").ok(t)
	if !strings.Contains(out.stderr, "there is no topic parley.inbox.reader") {
		t.Errorf("an ack that cannot arrive: %q", out.stderr)
	}
	var sent sentMessage
	if err := json.Unmarshal([]byte(out.stdout), &sent); err != nil {
		t.Fatal(err)
	}
	got := lastOf(t, s, "--agent", "echo")
	if sent != (sentMessage{ID: "n-1", Type: "note.taken", Schema: "demo.Note", SchemaID: id, Topic: got.Topic, Partition: got.Partition, Offset: got.Offset}) {
		t.Errorf("sent %+v, in the log at %s/%d/%d", sent, got.Topic, got.Partition, got.Offset)
	}
	e := got.Envelope
	if e.ID != "n-1" || e.Source != "reader" || e.Recipient != "echo" || e.Kind != "request" || e.CorrelationID != "talk" || e.Ack != "handled" ||
		e.Time == "" || e.TraceParent == "" || *got.Key != "k" || string(got.Payload) != `{"stars":null,"text":"hi"}` {
		t.Errorf("in the log: %+v, payload %s", e, got.Payload)
	}

	file := filepath.Join(t.TempDir(), "note.json")
	if err := os.WriteFile(file, []byte(`{"text":"from a file","stars":5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	runIn(t, s, "send", "--stream", "notes", "--schema", "demo.Note", "--payload", "@"+file).ok(t)
	got = lastOf(t, s, "--stream", "notes")
	if e := got.Envelope; e.Type != "note.taken" || e.Kind != "event" || e.Recipient != "" || e.Source != "operator" || *got.Key != e.ID || !strings.Contains(string(got.Payload), "from a file") {
		t.Errorf("in the stream: %+v, payload %s", e, got.Payload)
	}
}

func TestSendRefuses(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "echo", "--tiers", "1s", "--partitions", "1").ok(t)
	register(t, s, "demo.Note", noteSchema)
	register(t, s, "demo.Plain", `{"type":"record","name":"Plain","namespace":"demo","fields":[]}`)
	register(t, s, "demo.A", `{"type":"record","name":"A","namespace":"demo","parley.type":"twice","fields":[]}`)
	register(t, s, "demo.B", `{"type":"record","name":"B","namespace":"demo","parley.type":"twice","fields":[]}`)
	register(t, s, "demo.Ruled", `{"type":"record","name":"Ruled","namespace":"demo","parley.type":"ruled","fields":[
		{"name":"n","type":"int","parley.rules":[{"id":"even","expression":"this % 2 == 0","message":"an even number is needed"}]}]}`)
	to := func(args ...string) []string { return append([]string{"send", "--to", "echo"}, args...) }
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitFailure, "payload.txt: there is no such field in demo.Note; it has text, stars", to("--type", "note.taken", "--payload", `{"txt":1}`)},
		{exitFailure, "payload.text: is missing", to("--type", "note.taken", "--payload", `{}`)},
		{exitFailure, "payload.n breaks the rule even of demo.Ruled: an even number is needed", to("--type", "ruled", "--payload", `{"n":3}`)},
		{exitFailure, "payload: the JSON text is empty or cut off", to("--type", "note.taken", "--payload", `{`)},
		{exitFailure, "names the message type note.gone", to("--type", "note.gone", "--payload", `{}`)},
		{exitFailure, "choose one with --schema: demo.A, demo.B", to("--type", "twice", "--payload", `{}`)},
		{exitFailure, "schema demo.Gone: is not registered", to("--schema", "demo.Gone", "--payload", `{}`)},
		{exitFailure, "schema demo.Note is of type note.taken, not note.gone", to("--schema", "demo.Note", "--type", "note.gone", "--payload", `{}`)},
		{exitFailure, "schema demo.Plain names no message type: give --type", to("--schema", "demo.Plain", "--payload", `{}`)},
		{exitFailure, "no such file", to("--type", "note.taken", "--payload", "@nowhere.json")},
		{exitFailure, "there is no topic parley.inbox.nobody", []string{"send", "--to", "nobody", "--type", "note.taken", "--payload", "{}"}},
		{exitFailure, "there is no topic parley.inbox.nobody", []string{"send", "--to", "nobody", "--stop"}},
		{exitUsage, "name one of --to and --stream", to("--stream", "s", "--type", "a", "--payload", "{}")},
		{exitUsage, "--to: the name \"Echo\" may hold", []string{"send", "--to", "Echo", "--type", "a", "--payload", "{}"}},
		{exitUsage, "--type is needed; --payload is needed", to()},
		{exitUsage, `--kind: "shout" is not a kind of message`, to("--type", "a", "--payload", "{}", "--kind", "shout")},
		{exitUsage, `--ack: "yes" is neither delivered nor handled`, to("--type", "a", "--payload", "{}", "--ack", "yes")},
		{exitUsage, "--wait: -1s is not a time to wait", to("--type", "a", "--payload", "{}", "--wait", "-1s")},
		{exitUsage, "--wait needs --to", []string{"send", "--stream", "s", "--type", "a", "--payload", "{}", "--wait", "1s"}},
		{exitUsage, "it takes no --kind event; --wait takes no --ack", to("--type", "a", "--payload", "{}", "--wait", "1s", "--kind", "event", "--ack", "handled")},
		{exitUsage, "--stop takes no --wait", to("--stop", "--wait", "1s")},
		{exitUsage, "--stop takes no --type", to("--type", "a", "--stop")},
		{exitUsage, "--stop needs --to", []string{"send", "--stop"}},
		{exitUsage, "--reason goes with --stop", to("--type", "a", "--payload", "{}", "--reason", "r")},
	} {
		runIn(t, s, c.args...).failed(t, c.code, c.want)
	}
	if got := runIn(t, s, "tail", "--agent", "echo").ok(t).stdout; got != "" {
		t.Errorf("a refused message was written:\n%s", got)
	}
}

// TestSendStop tells a running agent to stop, which it obeys after what came
// before.
func TestSendStop(t *testing.T) {
	s := server(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reg, err := schemas.NewRegistry(s.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: s.Brokers(), Schemas: reg, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan string, 1)
	echo := agents.New("echo", agents.Config{})
	agents.On(echo, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		handled <- m.ID() + " " + m.Payload.Message
		return nil
	})
	worker, err := platform.Worker(echo)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	select {
	case <-worker.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	if _, err := reg.Register(ctx, schemas.ErrorReply{}.Schema()); err != nil {
		t.Fatal(err)
	}
	runIn(t, s, "send", "--to", "echo", "--type", "agent.error", "--payload", `{"reason":"unknown","message":"hello"}`, "--id", "n-1").ok(t)
	runIn(t, s, "send", "--to", "echo", "--stop", "--reason", "test").ok(t)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-handled:
		if got != "n-1 hello" {
			t.Errorf("handled %q", got)
		}
	default:
		t.Error("the agent stopped before it had handled what came before the stop")
	}
	if got := lastOf(t, s, "--agent", "echo"); got.Envelope.Type != "agent.stop" || string(got.Payload) != `{"reason":"test"}` {
		t.Errorf("the last message is %+v, payload %s", got.Envelope, got.Payload)
	}
}
