package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	m.Agent("a").Input("t").Sent("u", 1)
	m.Agent("a").Instance()
	m.Outbox("shop")
	m.Replies("a").Dropped("late")
	negotiate(m)
	m.Board("prices")
	var notReady error
	h := Handler(reg, func() error { return notReady })
	get := func(method, path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}

	w := get("GET", "/metrics", "")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("/metrics: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	for name := range contract {
		if !strings.Contains(w.Body.String(), "# TYPE "+name+" ") {
			t.Errorf("/metrics has no %s", name)
		}
	}
	w = get("GET", "/metrics", "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") ||
		!strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("OpenMetrics was asked for, got %s", w.Header().Get("Content-Type"))
	}

	for _, c := range []struct {
		method, path string
		ready        error
		code         int
		body         string
	}{
		{"GET", "/healthz", nil, 200, "ok\n"},
		{"GET", "/healthz", errors.New("still starting"), 200, "ok\n"},
		{"GET", "/readyz", nil, 200, "ready\n"},
		{"GET", "/readyz", errors.New("no assignment yet"), 503, "not ready: no assignment yet\n"},
		{"GET", "/readyz", errors.Join(errors.New("one"), errors.New("two")), 503, "not ready: one; two\n"},
		{"POST", "/readyz", nil, 405, "Method Not Allowed\n"},
		{"GET", "/", nil, 404, "404 page not found\n"},
	} {
		notReady = c.ready
		w := get(c.method, c.path, "")
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s %s (%v): %d %q, want %d %q", c.method, c.path, c.ready, w.Code, w.Body, c.code, c.body)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	_, reg := newMetrics(t)
	s, err := Listen("127.0.0.1:0", Handler(reg, nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()

	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + s.Addr() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "ready\n" {
		t.Errorf("body %q", body)
	}
	if _, err := Listen(s.Addr(), nil); err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("an address in use: %v", err)
	}

	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve after its context ended: %v", err)
	}
	if _, err := client.Get("http://" + s.Addr() + "/readyz"); err == nil {
		t.Error("the server still answers")
	}
}

// A scraper that never ends must not hold up the end of the process.
func TestServeEndsInBoundedTime(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	s, err := Listen("127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		client := &http.Client{Timeout: 30 * time.Second}
		defer client.CloseIdleConnections()
		if resp, err := client.Get("http://" + s.Addr() + "/"); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	begin := time.Now()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(begin); took < shutdownTime || took > shutdownTime+5*time.Second {
		t.Errorf("the end took %v, want about %v", took, shutdownTime)
	}
	close(release)
	<-asked
}

func TestCloseWithoutServe(t *testing.T) {
	t.Parallel()
	s, err := Listen("127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	again, err := Listen(s.Addr(), http.NotFoundHandler())
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if err := Serve(t.Context(), "no such address", nil); err == nil {
		t.Error("a wrong address was taken")
	}
}

func TestWriteExposition(t *testing.T) {
	t.Parallel()
	m, reg := newMetrics(t)
	m.Agent("a").Input("t").Sent("u", 7)
	dir := t.TempDir()
	m.Agent("a").Instance()
	m.Outbox("shop")
	m.Replies("a").Dropped("late")
	negotiate(m)
	m.Board("prices")
	path := filepath.Join(dir, "metrics.prom")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	failing := prometheus.NewRegistry()
	failing.MustRegister(broken{})
	if err := WriteExposition(path, failing); err == nil {
		t.Error("a failing gatherer went unnoticed")
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Errorf("a failed write left %q", got)
	}
	if err := WriteExposition(path, reg); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name := range contract {
		if !strings.Contains(string(got), "\n# TYPE "+name+" ") && !strings.HasPrefix(string(got), "# HELP "+name) {
			t.Errorf("no %s in the file", name)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files left, want 1", len(entries))
	}
	if err := WriteExposition(filepath.Join(dir, "no", "such", "folder"), reg); err == nil {
		t.Error("a folder that does not exist was taken")
	}
}

type broken struct{}

func (broken) Describe(ch chan<- *prometheus.Desc) { ch <- prometheus.NewDesc("x", "x", nil, nil) }
func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("x", "x", nil, nil), errors.New("broken"))
}
