//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
)

// TestDemoOnKafka runs the bundled example, as a user would, on a real broker
// and a real registry.
func TestDemoOnKafka(t *testing.T) {
	kafka := cluster.SharedKafka(t)
	registry := cluster.SharedRegistry(t)
	binary := filepath.Join(t.TempDir(), "parley")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/parley").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "demo", "--json",
		"--brokers", kafka.Bootstrap(), "--registry", registry.URL, "--data", t.TempDir())
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	t.Logf("the demo took %s", time.Since(start).Round(time.Millisecond))
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, stderr.String())
	}
	lines := bytes.Split(bytes.TrimSpace(stdout.Bytes()), []byte("\n"))
	var result struct {
		Conservation string
		Agents       map[string]struct {
			Accepted, Done, Skipped, Duplicates, Retrying, Scheduled, Dead int

			DoneByType map[string]int `json:"done_by_type"`
		}
		Negotiations struct {
			Called, Awarded, Failed int
			NoBids                  int            `json:"no_bids"`
			ByTeam                  map[string]int `json:"by_team"`
		}
		Requests struct{ Asked, Answered int }
		Routes   struct {
			Routed        int
			ByDestination map[string]int `json:"by_destination"`
		}
		State struct{ Keys, Updates, Conflicts int }
	}
	if err := json.Unmarshal(lines[len(lines)-1], &result); err != nil {
		t.Fatalf("the last line is not one JSON object: %v", err)
	}
	if result.Conservation != "exact" {
		t.Errorf("conservation: %s", result.Conservation)
	}
	for name, a := range result.Agents {
		if sum := a.Done + a.Skipped + a.Duplicates + a.Retrying + a.Dead; a.Accepted != sum {
			t.Errorf("%s: accepted %d, but the terms add up to %d", name, a.Accepted, sum)
		}
		if a.Retrying != a.Scheduled {
			t.Errorf("%s: %d are retrying, %d of them scheduled", name, a.Retrying, a.Scheduled)
		}
	}
	if n := result.Agents["triage"].DoneByType["quake.reported"]; n != 1707 {
		t.Errorf("triage is done with %d quakes, not 1,707", n)
	}
	if n := result.Agents["dispatch"].DoneByType["quake.dispatch"]; n != 85 {
		t.Errorf("dispatch is done with %d commands, not 85", n)
	}
	if n := result.Negotiations; n.Called != 85 || n.Awarded+n.NoBids+n.Failed != 85 || len(n.ByTeam) != 5 {
		t.Errorf("negotiations: %+v", n)
	}
	if q := result.Requests; q.Asked != 85 || q.Answered != 85 {
		t.Errorf("requests: %+v", q)
	}
	if r := result.Routes; r.Routed != 85 || r.ByDestination["agent:notify"] != 85 || r.ByDestination["agent:coastguard"] != 3 || r.ByDestination["stream:warnings"] != 5 {
		t.Errorf("routes: %+v", r)
	}
	if s := result.State; s.Keys != 34 || s.Updates != 85 || s.Conflicts != 0 {
		t.Errorf("the board: %+v", s)
	}
}
