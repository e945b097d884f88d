package quake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestModelEndpoint(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"http://localhost:11434":                       "http://localhost:11434/v1/chat/completions",
		"https://api.example.org/":                     "https://api.example.org/v1/chat/completions",
		"https://api.example.org/v1":                   "https://api.example.org/v1/chat/completions",
		"https://example.org/proxy/v1/":                "https://example.org/proxy/v1/chat/completions",
		"https://example.org/v1/chat/completions?v=2":  "https://example.org/v1/chat/completions?v=2",
		"https://example.org/openai/chat/completions/": "https://example.org/openai/chat/completions",
	} {
		if got, err := ModelEndpoint(server); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", server, got, err, want)
		}
	}
	for _, server := range []string{"", "localhost:11434", "ftp://example.org", "http://", "http://a b"} {
		if got, err := ModelEndpoint(server); err == nil {
			t.Errorf("%q: %s", server, got)
		}
	}
}

func TestModelCall(t *testing.T) {
	t.Parallel()
	depth := 33.0
	event := &Assess{Eventid: "us1", Eventtype: "earthquake", Place: "Palu", Magnitude: 6.1, Depth: &depth, Tsunami: true}
	const good = `{"choices":[{"message":{"content":" Stay \n away from the coast. "}}],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}`
	for name, c := range map[string]struct {
		status int
		body   string
		wait   time.Duration

		text        string
		unavailable bool
		says        string
	}{
		"answer":      {status: 200, body: good, text: "Stay away from the coast."},
		"long":        {status: 200, body: `{"choices":[{"message":{"content":"` + strings.Repeat("ä", 900) + `"}}]}`, text: strings.Repeat("ä", maxSentence/2)},
		"busy":        {status: 429, body: good, unavailable: true, says: "429"},
		"down":        {status: 502, unavailable: true, says: "502"},
		"slow":        {status: 200, body: good, wait: time.Minute, unavailable: true, says: "does not answer"},
		"no such key": {status: 401, body: `{"error":"key"}`, says: "401"},
		"no JSON":     {status: 200, body: "<html>", says: "not JSON"},
		"no choices":  {status: 200, body: `{}`, says: "no choices"},
		"empty":       {status: 200, body: `{"choices":[{"message":{"content":"  "}}]}`, says: "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var asked modelRequest
				if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
					t.Error(err)
				}
				if r.Header.Get("Idempotency-Key") != "the key" || r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("headers %v", r.Header)
				}
				if last := asked.Messages[len(asked.Messages)-1].Content; asked.Model != "m" || !strings.Contains(last, "Palu") || !strings.Contains(last, "33 km") || strings.Contains(last, "us1") {
					t.Errorf("asked %+v", asked)
				}
				if c.wait > 0 {
					select {
					case <-time.After(c.wait):
					case <-end:
					}
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer http.DefaultClient.CloseIdleConnections()
			defer server.Close()
			defer close(end)
			endpoint, err := ModelEndpoint(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			m := &Model{Endpoint: endpoint, Name: "m", Key: "secret", Timeout: 5 * time.Second}
			if c.wait > 0 {
				m.Timeout = 20 * time.Millisecond
			}
			answer, err := m.call(t.Context(), "the key", event)
			text := ""
			if err == nil {
				text, err = answer.text()
			}
			if text != c.text || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %v", text, err)
			}
			var unavailable *streaming.UnavailableError
			var dead *streaming.DeadLetterError
			if err != nil && (errors.As(err, &unavailable) != c.unavailable || errors.As(err, &dead) == c.unavailable) {
				t.Errorf("%v (%T) is of the wrong kind", err, err)
			}
			if name == "answer" && (answer.Usage.PromptTokens != 5 || answer.Usage.CompletionTokens != 6 || answer.Usage.TotalTokens != 11) {
				t.Errorf("tokens %+v", answer.Usage)
			}
		})
	}
}

// TestModelIsAskedOnce ends an agent's worker when the model has answered and nothing is
// done yet: the next worker has the answers and asks no more.
func TestModelIsAskedOnce(t *testing.T) {
	t.Parallel()
	const events = 6
	var mu sync.Mutex
	refused, calls := 0, map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		if refused < 2 {
			refused++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		calls[r.Header.Get("Idempotency-Key")]++
		_, _ = w.Write([]byte(`{"choices":[{"message":{"content":"Once."}}],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}`))
	}))
	defer http.DefaultClient.CloseIdleConnections()
	defer server.Close()
	endpoint, err := ModelEndpoint(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var prompt, completion atomic.Int64
	model := &Model{Endpoint: endpoint, Name: "m", Spent: func(p, c int) {
		prompt.Add(int64(p))
		completion.Add(int64(c))
	}}

	cluster := streamtest.NewCluster(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: cluster.Brokers, Schemas: cluster.Schemas, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := p.Sender(DispatchAgent)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	told := make(chan string, events)
	analyst := func(crash bool) *agents.Agent {
		a := agents.New(AnalystAgent, agents.Config{DrainTimeout: 100 * time.Millisecond})
		agents.On(a, func(ctx context.Context, m *agents.Message[Assess]) error {
			text, err := model.sentence(ctx, m)
			if err != nil {
				return err
			}
			told <- text
			if crash && m.ID() != "us0" { // which ends the pause after the refusals
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		return a
	}
	await := func(n int) {
		t.Helper()
		for range n {
			select {
			case text := <-told:
				if text != "Once." {
					t.Errorf("the model says %q", text)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the model is not asked")
			}
		}
	}

	w, err := p.Worker(analyst(true))
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-w.Ready()
	for i := range events {
		id := fmt.Sprint("us", i)
		if err := sender.Send(t.Context(), sender.ToAgent(AnalystAgent, &Assess{Eventid: id, Magnitude: 5}, agents.ID(id), agents.Key(id))); err != nil {
			t.Fatal(err)
		}
		await(1)
	}
	kill()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	start(t, p, analyst(false))
	await(events - 1)
	mu.Lock()
	defer mu.Unlock()
	for i := range events {
		if n := calls[fmt.Sprintf("dispatch/us%d/model", i)]; n != 1 {
			t.Errorf("event %d: the model was called %d times", i, n)
		}
	}
	if len(calls) != events || refused != 2 || prompt.Load() != 5*events || completion.Load() != 6*events {
		t.Errorf("%d keys, %d refused calls, %d and %d tokens", len(calls), refused, prompt.Load(), completion.Load())
	}
}
