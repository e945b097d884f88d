package quake

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
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
