package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// deadLetters writes four dead letters of two agents.
func deadLetters(t *testing.T, s *embedded.Server) {
	t.Helper()
	runIn(t, s, "topics", "apply", "--agent", "echo", "--streams", "notes", "--tiers", "1s", "--partitions", "2").ok(t)
	runIn(t, s, "topics", "apply", "--agent", "other", "--tiers", "1s", "--partitions", "1").ok(t)
	id := register(t, s, "demo.Note", noteSchema)
	dead := func(input, group string, partition int32, after time.Duration, value []byte, headers []streaming.Header, reason streaming.Reason, attempts int, text string) *streaming.Record {
		return &streaming.Record{
			Topic: streaming.DeadLetterTopic(input, group), Partition: partition, Timestamp: day.Add(after), Key: []byte("k"), Value: value,
			Headers: schemas.AppendHop(headers, &streaming.Hop{
				Attempt: attempts, Moves: attempts + 1, Reason: reason, Error: text,
				Origin: streaming.Origin{Topic: input, Partition: partition, Offset: 40, Timestamp: day.Add(-time.Hour)},
			}),
		}
	}
	write(t, s,
		dead("parley.inbox.echo", "echo", 0, 0, note(id, "hi"), envelope("n-1", func(e *streaming.Envelope) { e.Recipient = "echo" }), streaming.ReasonHandler, 5, "no answer\nat all"),
		dead("parley.inbox.echo", "echo", 1, 2*time.Second, note(id, "hi")[:6], envelope("n-2"), streaming.ReasonDecode, 0, "cut"),
		dead("parley.events.notes", "echo", 0, time.Second, note(id, "hi"), envelope("n-3")[1:2], streaming.ReasonContract, 0, "no ce_id\x1b[2J"),
		dead("parley.inbox.other", "other", 0, 3*time.Second, note(id, "hi"), envelope("n-4"), streaming.ReasonHandler, 5, "no"),
	)
}

func TestDLQList(t *testing.T) {
	s := server(t)
	if got := runIn(t, s, "dlq", "list").ok(t).stdout; got != "no dead letters\n" {
		t.Errorf("without any: %q", got)
	}
	deadLetters(t, s)
	const want = `TOPIC                         PARTITION  OFFSET  TIME                      TYPE        ID   REASON    ATTEMPTS  ERROR
parley.inbox.echo.dlq.echo    0          0       2026-11-22T10:00:00.000Z  note.taken  n-1  handler   5         no answer
parley.events.notes.dlq.echo  0          0       2026-11-22T10:00:01.000Z  -           -    contract  0         no ce_id\u001b[2J
parley.inbox.echo.dlq.echo    1          0       2026-11-22T10:00:02.000Z  note.taken  n-2  decode    0         cut
parley.inbox.other.dlq.other  0          0       2026-11-22T10:00:03.000Z  note.taken  n-4  handler   5         no

4 dead letters: contract 1, decode 1, handler 2
`
	if got := runIn(t, s, "dlq", "list").ok(t).stdout; got != want {
		t.Errorf("list:\n%s", got)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--agent", "echo"}, "n-1  n-2"},
		{[]string{"--agent", "other"}, "n-4"},
		{[]string{"--topic", "parley.inbox.echo"}, "n-1 n-2"},
		{[]string{"--topic", "parley.inbox.other.dlq.other"}, "n-4"},
		{[]string{"--reason", "handler"}, "n-1 n-4"},
		{[]string{"--reason", "handler", "--agent", "echo"}, "n-1"},
		{[]string{"--reason", "panic"}, ""},
	} {
		var got struct {
			DeadLetters []deadLetterRow `json:"dead_letters"`
			ByReason    map[string]int  `json:"by_reason"`
		}
		if err := json.Unmarshal([]byte(runIn(t, s, append([]string{"dlq", "list", "--json"}, c.args...)...).ok(t).stdout), &got); err != nil {
			t.Fatal(err)
		}
		var ids []string
		sum := 0
		for _, row := range got.DeadLetters {
			ids = append(ids, row.ID)
		}
		for _, n := range got.ByReason {
			sum += n
		}
		if strings.Join(ids, " ") != c.want || sum != len(ids) || got.DeadLetters == nil {
			t.Errorf("%v: %q, by reason %v", c.args, ids, got.ByReason)
		}
	}
}

func TestDLQShow(t *testing.T) {
	s := server(t)
	deadLetters(t, s)
	const want = `parley.inbox.echo.dlq.echo/0/0
  written          2026-11-22T10:00:00.000Z
  reason           handler
  attempts         5
  moves            6
  origin           parley.inbox.echo/0/40 at 2026-11-22T09:00:00.000Z
envelope
  id               n-1
  source           reader
  type             note.taken
  recipient        echo
  kind             event
  correlationid    talk
  hops             8
  key              "k"
payload (demo.Note)
  {
    "stars": null,
    "text": "hi"
  }
error
  no answer
  at all
original headers
  parley-version: 1
  ce_specversion: 1.0
  ce_id: n-1
  ce_source: reader
  ce_type: note.taken
  ce_recipient: echo
  ce_kind: event
  ce_correlationid: talk
  ce_hops: 8
  content-type: application/avro
value, 9 bytes
  00000000  00 00 00 00 01 04 68 69  00                       |......hi.|
`
	if got := runIn(t, s, "dlq", "show", "parley.inbox.echo.dlq.echo/0/0").ok(t).stdout; got != want {
		t.Errorf("show:\n%s", got)
	}

	got := letterView{recordView: &recordView{}}
	if err := json.Unmarshal([]byte(runIn(t, s, "dlq", "show", "parley.inbox.echo.dlq.echo/1/0", "--json").ok(t).stdout), &got); err != nil {
		t.Fatal(err)
	}
	value, err := base64.StdEncoding.DecodeString(got.ValB64)
	if err != nil || !bytes.Equal(value, note(1, "hi")[:6]) {
		t.Errorf("value %x, %v", value, err)
	}
	if got.Hop.Reason != "decode" || got.Payload != nil || len(got.Problems) != 1 || got.Problems[0].Reason != "decode" || len(got.Headers) == 0 || *got.KeyB64 != "aw==" {
		t.Errorf("show --json: %+v", got)
	}

	// Without the registry all but the payload is shown.
	out := runIn(t, nil, "dlq", "show", "parley.inbox.echo.dlq.echo/0/0", "--brokers", s.Brokers()[0], "--registry", "http://127.0.0.1:1").ok(t).stdout
	if !strings.Contains(out, "schema registry http://127.0.0.1:1 cannot be reached") || !strings.Contains(out, "no answer") {
		t.Errorf("without the registry:\n%s", out)
	}

	for where, want := range map[string]string{
		"parley.inbox.nobody.dlq.nobody/0/0": "there is no topic parley.inbox.nobody.dlq.nobody",
		"parley.inbox.echo.dlq.echo/2/0":     "has partitions 0 to 1, not 2",
		"parley.inbox.echo.dlq.echo/0/1":     "holds offsets 0 to 0, not 1",
		"parley.events.notes.dlq.echo/1/0":   "parley.events.notes.dlq.echo/1 is empty",
	} {
		runIn(t, s, "dlq", "show", where).failed(t, exitFailure, want)
	}
}
