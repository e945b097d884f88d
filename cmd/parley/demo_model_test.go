package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// modelServer stands for a language model. It refuses its first calls, and from some
// number of answers on it keeps its callers waiting until it is let go.
type modelServer struct {
	refuse, hold int

	mu       sync.Mutex
	called   map[string]int // calls by their idempotency key
	answered map[string]int
	bad      []string
	held     chan struct{} // closed when the first caller waits
	gone     chan struct{} // closed to let them go
}

func newModelServer(refuse, hold int) *modelServer {
	return &modelServer{refuse: refuse, hold: hold, called: map[string]int{}, answered: map[string]int{}, held: make(chan struct{}), gone: make(chan struct{})}
}

func (s *modelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Model    string
		Messages []struct{ Role, Content string }
	}
	err := json.NewDecoder(r.Body).Decode(&asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer sesame" || asked.Model != "m" || len(asked.Messages) != 2 {
		s.bad = append(s.bad, fmt.Sprint(r.URL, r.Header, asked, err))
	}
	if s.refuse > 0 {
		s.refuse--
		status := []int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[s.refuse%2]
		http.Error(w, "not now", status)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	s.called[key]++
	if s.hold > 0 && len(s.answered) == s.hold {
		select {
		case <-s.held:
		default:
			close(s.held)
		}
		s.mu.Unlock()
		select {
		case <-s.gone:
		case <-r.Context().Done():
		}
		s.mu.Lock()
		return
	}
	s.answered[key]++
	_, _ = fmt.Fprint(w, `{"choices":[{"message":{"role":"assistant","content":"Says the model."}}],"usage":{"prompt_tokens":70,"completion_tokens":3,"total_tokens":73}}`)
}

// TestDemoModel kills the demo while its model has answered for some events: for none of
// them it is asked again, and all get its sentence.
func TestDemoModel(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "")
	t.Setenv("PARLEY_MODEL_KEY", "sesame")
	const before = 20
	model := newModelServer(3, before)
	server := httptest.NewServer(model)
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "data")
	metrics := filepath.Join(t.TempDir(), "metrics")
	flags := []string{"--model", server.URL, "--model-name", "m", "--metrics-out", metrics}

	run := watch(t, append([]string{"demo", "--json", "--tiers", shortTiers, "--data", dir}, flags...)...)
	select {
	case <-model.held:
	case <-time.After(30 * time.Second):
		run.kill()
		t.Fatalf("the model was not asked often enough:\n%s", run.text())
	}
	time.Sleep(time.Second) // what was answered is stored
	run.kill()
	close(model.gone)
	model.mu.Lock()
	model.hold = 0
	answered := maps.Clone(model.answered)
	model.mu.Unlock()

	r := demo(t, dir, flags...)
	check(t, dir, r)
	model.mu.Lock()
	defer model.mu.Unlock()
	if len(model.bad) > 0 {
		t.Errorf("asked in another way than meant: %s", model.bad[0])
	}
	if len(answered) != before || len(model.answered) != dispatched {
		t.Errorf("%d events before the kill and %d in all have an answer, want %d and %d", len(answered), len(model.answered), before, dispatched)
	}
	for key, n := range model.answered {
		if n != 1 || answered[key] > 0 && model.called[key] != 1 {
			t.Errorf("%s was called for %d times and answered %d times", key, model.called[key], n)
		}
		if !strings.HasPrefix(key, "dispatch/") || !strings.HasSuffix(key, "/model") {
			t.Errorf("the idempotency key is %q", key)
		}
	}
	checkSentences(t, dir, "Says the model.")
	text, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	for kind, each := range map[string]int{"prompt": 70, "completion": 3} { // of the second process
		want := fmt.Sprintf("parley_demo_model_tokens_total{agent=%q,kind=%q} %d\n", "analyst", kind, each*(dispatched-before))
		if !strings.Contains(string(text), want) {
			t.Errorf("the exposition has no %s", want)
		}
	}

	again := demo(t, dir, flags...)
	check(t, dir, again)
	if len(model.answered) != dispatched {
		t.Errorf("the model was asked about %d events", len(model.answered))
	}
}

// checkSentences looks for the analyst's sentence in each alert.
func checkSentences(t *testing.T, dir, sentence string) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close(t.Context()) }()
	all, _ := readAll(t, server.Brokers())
	all.once("parley.inbox.notify", func(r *kgo.Record) {
		if first(r, "ce_type") != "quake.alert" {
			return
		}
		in := avroBytes{t: t, rest: r.Value[5:]}
		in.text() // event
		in.text() // level
		if text := in.text(); !strings.Contains(text, sentence) {
			t.Errorf("alert %s: %s", r.Key, text)
		}
	})
}
