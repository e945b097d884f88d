package deploy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// demoTime bounds the demo; it is meant to take 20 s at most.
const demoTime = 2 * time.Minute

// TestPanelsOnLiveDemo scrapes a running demo and evaluates every panel on it.
func TestPanelsOnLiveDemo(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "parley")
	// From the root: the command is another module.
	build := exec.Command("go", "build", "-o", binary, "./cmd/parley")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	h := load(t, scrapeDemo(t, binary))
	for file, d := range dashboards(t) {
		t.Run(file, func(t *testing.T) { checkPanels(t, d, h) })
	}
}

// scrapeDemo runs the demo to its end and returns what it showed every 20 ms,
// and at last the exposition that it kept.
func scrapeDemo(t *testing.T, binary string) []scrape {
	t.Helper()
	dir := t.TempDir()
	last := filepath.Join(dir, "metrics.prom")
	addr := freeAddr(t)
	ctx, cancel := context.WithTimeout(t.Context(), demoTime)
	defer cancel()
	var output bytes.Buffer
	demo := exec.CommandContext(ctx, binary, "demo", "--data", "", "--metrics-out", last, "--metrics-addr", addr)
	demo.Dir = dir
	demo.Stdout, demo.Stderr = &output, &output
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()

	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var scrapes []scrape
	var failed error // the last scrape that did not succeed
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("demo: %v\n%s", err, &output)
			}
			running = false
		case <-tick.C:
			// Refused before the demo listens and once it ends.
			s, err := fetch(client, "http://"+addr+"/metrics")
			if err != nil {
				failed = err
				continue
			}
			if len(s.text) > 0 { // nothing to show before the agents start
				scrapes = append(scrapes, s)
			}
		}
	}
	if len(scrapes) < 5 {
		t.Fatalf("only %d scrapes of the demo (%v)\n%s", len(scrapes), failed, &output)
	}
	text, err := os.ReadFile(last)
	if err != nil {
		t.Fatalf("the exposition that the demo should keep: %v", err)
	}
	return append(scrapes, scrape{at: time.Now(), text: text})
}

func fetch(client *http.Client, url string) (scrape, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return scrape{}, err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	at := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return scrape{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return scrape{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return scrape{}, errors.New(resp.Status)
	}
	return scrape{at: at, text: text}, nil
}

// freeAddr returns an address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
