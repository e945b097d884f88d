package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

func TestState(t *testing.T) {
	s := server(t)
	log, err := kafka.NewLog(kafka.Config{Brokers: s.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	plan := &kafka.TopicPlan{Create: []kafka.NewTopic{{Name: "parley.state.notes", Partitions: 2, Config: map[string]string{"cleanup.policy": "compact"}}}}
	err = log.ApplyTopics(t.Context(), plan, -1)
	log.Close()
	if err != nil {
		t.Fatal(err)
	}
	id := register(t, s, "demo.Note", noteSchema)
	put := func(key string, version int64, text string) {
		t.Helper()
		rec := &streaming.Record{
			Topic: "parley.state.notes", Partition: -1, Key: []byte(key), Value: note(id, text),
			Headers: envelope("n", func(env *streaming.Envelope) { env.Kind, env.Sequence = streaming.KindStateDiff, version }),
		}
		if text == "" {
			rec.Value = nil
		}
		write(t, s, rec)
	}
	if out := runIn(t, s, "state", "list", "notes").ok(t).stdout; out != "no key has a value\n" {
		t.Errorf("an empty board: %q", out)
	}
	put("b", 1, "one")
	put("a", 1, "<first>\x1b")
	put("b", 2, "two")
	put("gone", 1, "x")
	put("gone", 2, "")
	want := "KEY  VERSION  VALUE\n" +
		`a    1        {"stars":null,"text":"\u003cfirst\u003e\u001b"}` + "\n" +
		`b    2        {"stars":null,"text":"two"}` + "\n"
	if out := runIn(t, s, "state", "list", "notes").ok(t).stdout; out != want {
		t.Errorf("list:\n%s", out)
	}
	if out := runIn(t, s, "state", "list", "notes", "--json").ok(t).stdout; !strings.Contains(out, `{"key":"b","version":2,"value":{"stars":null,"text":"two"}}`+"\n") {
		t.Errorf("list --json:\n%s", out)
	}
	if out := runIn(t, s, "state", "get", "notes", "b").ok(t).stdout; out != `{"stars":null,"text":"two"}`+"\n" {
		t.Errorf("get: %s", out)
	}
	if out := runIn(t, s, "state", "get", "notes", "b", "--json").ok(t).stdout; out != `{"key":"b","version":2,"value":{"stars":null,"text":"two"}}`+"\n" {
		t.Errorf("get --json: %s", out)
	}
	runIn(t, s, "state", "get", "notes", "gone").failed(t, exitFailure, `key "gone" of board notes was deleted, as version 2`)
	runIn(t, s, "state", "get", "notes", "never").failed(t, exitFailure, `key "never" of board notes has no value`)
	runIn(t, s, "state", "list", "others").failed(t, exitFailure, "there is no board others: topic parley.state.others does not exist")
	runIn(t, s, "state", "list", "No").failed(t, exitUsage, `the name "No" may hold`)
	runIn(t, s, "state", "get", "notes").failed(t, exitUsage, "accepts 2 arg(s), received 1")

	put("b", 3, "three")
	write(t, s, &streaming.Record{Topic: "parley.state.notes", Partition: -1, Key: []byte("b"), Value: []byte("bad"), Headers: envelope("n")})
	if r := runIn(t, s, "state", "list", "notes").ok(t); !strings.Contains(r.stderr, `the record of key "b" of board notes at `) || !strings.Contains(r.stdout, "three") {
		t.Errorf("with a bad record: %+v", r)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := start(ctx, s, "state", "watch", "notes")
	seen := make(chan string, 1)
	go func() {
		lines.scan.Scan()
		seen <- lines.scan.Text()
	}()
	var line string
	for version := int64(1); line == "" && version < 2000; version++ { // it may not watch yet
		put("w", version, "watched")
		select {
		case line = <-seen:
		case <-time.After(10 * time.Millisecond):
		}
	}
	if !strings.Contains(line, "  w  ") || !strings.Contains(line, `"text":"watched"`) {
		t.Errorf("watch: %q", line)
	}
	cancel()
	if r := <-lines.done; r.code != exitOK {
		t.Errorf("interrupted: %+v", r)
	}
}
