package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// result is what a run of the command came to.
type result struct {
	stdout, stderr string
	code           int
}

// runIn runs the command in this process, against a server where one is given.
func runIn(t *testing.T, s *embedded.Server, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), against(s, args), &stdout, &stderr)
	return result{stdout.String(), stderr.String(), code}
}

func against(s *embedded.Server, args []string) []string {
	if s == nil {
		return args
	}
	if args[0] == "schema" {
		return append(slices.Clone(args), "--registry", s.RegistryURL())
	}
	args = append(slices.Clone(args), "--brokers", s.Brokers()[0])
	switch {
	case args[0] == "tail", args[0] == "send", args[0] == "agents", args[0] == "contracts", args[0] == "state", args[0] == "dlq" && args[1] != "list":
		args = append(args, "--registry", s.RegistryURL())
	}
	return args
}

// ok fails the test unless the command succeeded.
func (r result) ok(t *testing.T) result {
	t.Helper()
	if r.code != exitOK {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	return r
}

// failed wants that exit code, one line that says want, and no output.
func (r result) failed(t *testing.T, code int, want string) {
	t.Helper()
	switch {
	case r.code != code:
		t.Errorf("exit code %d, want %d: %s", r.code, code, r.stderr)
	case r.stdout != "":
		t.Errorf("a command that failed printed %q", r.stdout)
	case !strings.HasPrefix(r.stderr, "parley: ") || strings.Count(r.stderr, "\n") != 1:
		t.Errorf("not one line: %q", r.stderr)
	case !strings.Contains(r.stderr, want):
		t.Errorf("%q does not say %q", r.stderr, want)
	}
}

// server is an embedded broker in memory for one test. Nothing of the test may
// be left running after it.
func server(t *testing.T) *embedded.Server {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
	})
	return s
}

const noteSchema = `{"type":"record","name":"Note","namespace":"demo","parley.type":"note.taken","fields":[
 {"name":"text","type":"string"},{"name":"stars","type":["null","int"],"default":null}]}`

// register registers a schema as a neighbour would.
func register(t *testing.T, s *embedded.Server, subject, schema string) (id int) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(s.RegistryURL()+"/subjects/"+subject+"/versions", "application/json", bytes.NewReader(body))
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

// note is a framed Note without stars, written without the codec.
func note(id int, text string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	b = binary.AppendVarint(b, int64(len(text)))
	return append(append(b, text...), 0)
}

// write appends records to the log.
func write(t *testing.T, s *embedded.Server, recs ...*streaming.Record) {
	t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: s.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.AppendSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
}

// makeTopic creates a topic as somebody else might, with nothing of ours in its
// configuration.
func makeTopic(t *testing.T, s *embedded.Server, topic string, partitions int32) {
	t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: s.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	plan := &kafka.TopicPlan{Create: []kafka.NewTopic{{Name: topic, Partitions: partitions}}}
	if err := log.ApplyTopics(t.Context(), plan, -1); err != nil {
		t.Fatal(err)
	}
}

// day is the time of the records of golden tests.
var day = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func envelope(id string, change ...func(*streaming.Envelope)) []streaming.Header {
	env := streaming.Envelope{ID: id, Source: "reader", Type: "note.taken", Kind: streaming.KindEvent, CorrelationID: "talk", Hops: 8}
	for _, c := range change {
		c(&env)
	}
	return schemas.AppendEnvelope(nil, &env)
}

// lineReader gives what a running command prints, line by line.
type lineReader struct {
	scan *bufio.Scanner
	done chan result
}

// start runs a command that goes on until the context ends.
func start(ctx context.Context, s *embedded.Server, args ...string) *lineReader {
	r, w := io.Pipe()
	l := &lineReader{scan: bufio.NewScanner(r), done: make(chan result, 1)}
	go func() {
		var stderr bytes.Buffer
		code := run(ctx, against(s, args), w, &stderr)
		l.done <- result{stderr: stderr.String(), code: code}
		_ = w.Close()
	}()
	return l
}

// next is the next line; it waits for it.
func (l *lineReader) next(t *testing.T) string {
	t.Helper()
	if !l.scan.Scan() {
		t.Fatalf("the command ended: %+v", <-l.done)
	}
	return l.scan.Text()
}
