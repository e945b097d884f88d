package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

const quakeContracts = "../../agents/quake/contracts/"

func TestContractsCheckOfFiles(t *testing.T) {
	all, without := contractFiles(t, "none"), contractFiles(t, "feed")
	if out := runIn(t, nil, append([]string{"contracts", "check"}, all...)...).ok(t).stdout; out != fmt.Sprintf("%d contracts, no errors\n", len(all)) {
		t.Errorf("check says %q", out)
	}
	r := runIn(t, nil, "contracts", "check", quakeContracts+"feed.json", quakeContracts+"triage.json", quakeContracts+"notify.json")
	if r.code != exitFailure || !strings.HasPrefix(r.stdout, "error no-reader: agent triage sends quake.dispatch to inbox:dispatch, and there is no contract of an agent dispatch") ||
		!strings.Contains(r.stderr, "1 error in 3 contracts") {
		t.Errorf("without dispatch: %+v", r)
	}
	r = runIn(t, nil, append([]string{"contracts", "check", "--json"}, without...)...)
	var report struct {
		Errors   int
		Findings []findingReport
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if r.code != exitFailure || report.Errors != 1 || len(report.Findings) != 1 || report.Findings[0].Problem != contract.ProblemNoProducer || report.Findings[0].Agent != "triage" {
		t.Errorf("without feed: %+v", report)
	}
}

// contractFiles are those of the example, but that of one agent.
func contractFiles(t *testing.T, but string) []string {
	t.Helper()
	files, err := filepath.Glob(quakeContracts + "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == but+".json" })
}

func TestContractsRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"agent":"a","produce":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"check", bad}, exitFailure, `bad.json: not the JSON of a contract: json: unknown field "produce"`},
		{[]string{"check", filepath.Join(dir, "none.json")}, exitFailure, "none.json"},
		{[]string{"check", quakeContracts + "feed.json", quakeContracts + "feed.json"}, exitFailure, "are both the contract of the group feed"},
		{[]string{"export", "--format", "raml", quakeContracts + "feed.json"}, exitUsage, `--format: "raml" is not asyncapi`},
	} {
		r := runIn(t, nil, append([]string{"contracts"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%v: %+v, want %s", c.args, r, c.want)
		}
	}
}

func TestContractsExport(t *testing.T) {
	files := []string{quakeContracts + "feed.json", quakeContracts + "triage.json"}
	args := append([]string{"contracts", "export", "--title", "Quakes", "--api-version", "2.0"}, files...)
	var fromJSON, fromYAML any
	if err := json.Unmarshal([]byte(runIn(t, nil, append(args, "--json")...).ok(t).stdout), &fromJSON); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "asyncapi.yaml")
	runIn(t, nil, append(args, "--out", out)...).ok(t)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "asyncapi: 3.0.0\ninfo:\n  title: Quakes\n  version: \"2.0\"\n") {
		t.Errorf("YAML begins with\n%.200s", text)
	}
	again, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	var back any
	if err := json.Unmarshal(again, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, fromJSON) {
		t.Errorf("YAML and JSON differ:\n%s\n%v", text, fromJSON)
	}
}

func TestContractsOfTheRunningPlatform(t *testing.T) {
	s := server(t)
	if out := runIn(t, s, "contracts", "list").ok(t).stdout; out != "no agent has published a contract\n" {
		t.Errorf("before any agent: %q", out)
	}
	reg, err := schemas.NewRegistry(s.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: s.Brokers(), Schemas: reg, Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- platform.Run(running, quake.Triage(agents.Config{})) }()
	var shown result
	for shown = runIn(t, s, "contracts", "show", "triage"); shown.code != exitOK; shown = runIn(t, s, "contracts", "show", "triage") {
		if ctx.Err() != nil {
			t.Fatalf("no contract: %+v", shown)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if kept, err := os.ReadFile(quakeContracts + "triage.json"); err != nil || string(kept) != shown.stdout {
		t.Errorf("%v: published is\n%s\nin the file stands\n%s", err, shown.stdout, kept)
	}
	if out := runIn(t, s, "contracts", "list").ok(t).stdout; !strings.Contains(out, "quake.dispatch (inbox:dispatch)") {
		t.Errorf("list:\n%s", out)
	}
	if out := runIn(t, s, "agents", "status").ok(t).stdout; out != "no agent is paused\n" {
		t.Errorf("a contract is taken for control: %q", out)
	}
	rest := contractFiles(t, "triage")
	if out := runIn(t, s, append([]string{"contracts", "check"}, rest...)...).ok(t).stdout; out != fmt.Sprintf("%d contracts, no errors\n", len(rest)+1) {
		t.Errorf("files and the platform: %q", out)
	}
	// A file counts instead of what is published.
	silent := filepath.Join(t.TempDir(), "triage.json")
	if err := os.WriteFile(silent, []byte(`{"agent":"triage","undeclared":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runIn(t, s, append([]string{"contracts", "check", silent}, rest...)...)
	if r.code != exitFailure || !strings.Contains(r.stdout, "agent triage declares no outputs") || !strings.Contains(r.stdout, "feed sends quake.reported to stream:quakes, and nobody subscribes") {
		t.Errorf("a file of the same group: %+v", r)
	}
}
