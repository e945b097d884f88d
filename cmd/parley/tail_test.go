package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func TestTailShowsWhatIsThere(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "echo", "--tiers", "1s", "--partitions", "2").ok(t)
	id := register(t, s, "demo.Note", noteSchema)
	const inbox = "parley.inbox.echo"
	command := func(e *streaming.Envelope) { e.Kind, e.Recipient = streaming.KindCommand, "echo" }
	hop := streaming.Hop{
		Attempt: 2, Moves: 3, Due: day.Add(time.Minute).UnixMilli(), Reason: streaming.ReasonHandler, Error: "no answer\nat all",
		Origin: streaming.Origin{Topic: inbox, Partition: 0, Offset: 7, Timestamp: day},
	}
	write(t, s,
		&streaming.Record{Topic: inbox, Partition: 0, Timestamp: day, Key: []byte("k"), Value: note(id, "hi"), Headers: envelope("n-1", command)},
		&streaming.Record{Topic: inbox, Partition: 1, Timestamp: day.Add(time.Second), Value: note(id, "an \x1b[31m escape"), Headers: envelope("n-2")},
		&streaming.Record{Topic: inbox, Partition: 0, Timestamp: day.Add(2 * time.Second), Key: []byte{0xff}, Value: note(id, "cut")[:7], Headers: envelope("n-3")},
		&streaming.Record{Topic: inbox, Partition: 1, Timestamp: day.Add(3 * time.Second), Key: []byte{}, Value: note(99, "x"), Headers: envelope("n-4")[:3]},
		&streaming.Record{Topic: inbox + ".retry-1s.echo", Partition: 0, Timestamp: day, Key: []byte("k"), Value: note(id, "again"), Headers: schemas.AppendHop(envelope("n-5", command), &hop)},
	)
	const want = `2026-11-22T10:00:00.000Z  note.taken  command  reader → echo  id=n-1  conversation=talk  key=k  parley.inbox.echo/0/0
    {"stars":null,"text":"hi"}
2026-11-22T10:00:01.000Z  note.taken  event  reader  id=n-2  conversation=talk  parley.inbox.echo/1/0
    {"stars":null,"text":"an \u001b[31m escape"}
2026-11-22T10:00:02.000Z  note.taken  event  reader  id=n-3  conversation=talk  key=0xff  parley.inbox.echo/0/1
    unreadable (decode): decode: demo.Note: at byte 1 of 2: a length is more than what is left
    7 bytes: 0x00000000010663
2026-11-22T10:00:03.000Z  -  -  id=n-4  key=  parley.inbox.echo/1/1
    unreadable (contract): contract: ce_source: is required and missing
    unreadable (schema): schema ID 99: is unknown to the registry REGISTRY
    8 bytes: 0x0000000063027800
`
	if got := strings.ReplaceAll(runIn(t, s, "tail", "--agent", "echo").ok(t).stdout, s.RegistryURL(), "REGISTRY"); got != want {
		t.Errorf("tail shows:\n%s\nwant:\n%s", got, want)
	}
	const wantRetry = `2026-11-22T10:00:00.000Z  note.taken  command  reader → echo  id=n-5  conversation=talk  key=k  parley.inbox.echo.retry-1s.echo/0/0
    {"stars":null,"text":"again"}
    attempt 2, move 3, origin parley.inbox.echo/0/7, due 2026-11-22T10:01:00.000Z, handler: no answer
`
	if got := runIn(t, s, "tail", inbox+".retry-1s.echo", "--from", "start").ok(t).stdout; got != wantRetry {
		t.Errorf("tail of a retry topic shows:\n%s", got)
	}

	ids := func(args ...string) string {
		var ids []string
		for line := range strings.Lines(runIn(t, s, append([]string{"tail", inbox, "--json"}, args...)...).ok(t).stdout) {
			var v recordView
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			ids = append(ids, v.Envelope.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := ids("-n", "3"); got != "n-2 n-3 n-4" {
		t.Errorf("the last 3 are %s", got)
	}
	if got := ids("-n", "3", "--from", "start"); got != "n-1 n-2 n-3" {
		t.Errorf("the first 3 are %s", got)
	}
	if got := ids("--from", "start"); len(strings.Fields(got)) != 4 {
		t.Errorf("all are %s", got)
	}
}

func TestTailFollows(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "echo", "--tiers", "1s", "--partitions", "2").ok(t)
	id := register(t, s, "demo.Note", noteSchema)
	one := func(n int) *streaming.Record {
		return &streaming.Record{Topic: "parley.inbox.echo", Partition: int32(n % 2), Value: note(id, "hi"), Headers: envelope(fmt.Sprint("n-", n))}
	}
	write(t, s, one(0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := start(ctx, s, "tail", "--agent", "echo", "--follow", "--json")
	for n := range 6 {
		if n > 0 {
			write(t, s, one(n))
		}
		if got := lines.next(t); !strings.Contains(got, fmt.Sprintf(`"id":"n-%d"`, n)) {
			t.Fatalf("after record %d: %s", n, got)
		}
	}
	cancel()
	if r := <-lines.done; r.code != exitOK || r.stderr != "" {
		t.Errorf("interrupted: %+v", r)
	}
}
