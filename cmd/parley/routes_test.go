package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
)

func routesFileOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const someRoutes = `
reason: from the file
routes:
  - name: errors
    types: [agent.error]
    match: payload.reason == 'handler'
    destinations: ["agent:a", {to: "agent:b"}]
    priority: 2
  - name: rest
    mode: weighted
    destinations:
      - {to: "agent:a", weight: 3}
      - agent:b
`

func TestRoutesFromApplyToRollback(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "a", "--partitions", "1").ok(t)
	runIn(t, s, "topics", "apply", "--agent", "b", "--partitions", "1").ok(t)
	reg, err := schemas.NewRegistry(s.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	if _, err := reg.Register(t.Context(), schemas.ErrorReply{}.Schema()); err != nil {
		t.Fatal(err)
	}
	if out := runIn(t, s, "routes", "list").ok(t).stdout; out != "there are no routes\n" {
		t.Errorf("%q", out)
	}
	runIn(t, s, "routes", "test", "--type", "agent.error").failed(t, exitFailure, "there are no routes")

	file := routesFileOf(t, someRoutes)
	if out := runIn(t, s, "routes", "apply", file).ok(t).stdout; out != "version 1 is in force: 2 routes\n" {
		t.Errorf("%q", out)
	}
	list := runIn(t, s, "routes", "list").ok(t).stdout
	for _, want := range []string{"version 1, ", ": from the file\n", "errors  2         agent.error  fanout    agent:a agent:b      payload.reason == 'handler'", "rest    0         -            weighted  agent:a*3 agent:b*1  -"} {
		if !strings.Contains(list, want) {
			t.Errorf("%s\n does not say %q", list, want)
		}
	}
	test := runIn(t, s, "routes", "test", "--type", "agent.error", "--payload", `{"reason":"handler","message":""}`, "--attr", "id=1").ok(t).stdout
	if !strings.Contains(test, "errors  matches  fanout    agent:a agent:b\n") || !strings.HasSuffix(test, "it goes to agent:a agent:b\n") {
		t.Error(test)
	}
	var report struct {
		Version int64
		Matches []struct{ Route string }
		Failed  []failureReport
	}
	out := runIn(t, s, "routes", "test", "--type", "agent.error", "--json").ok(t).stdout
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Version != 1 || len(report.Matches) != 1 || report.Matches[0].Route != "rest" || len(report.Failed) != 1 || report.Failed[0].Why != "payload" {
		t.Errorf("%s: %v", out, err)
	}
	runIn(t, s, "routes", "test", "--type", "agent.error", "--attr", "kid=x").failed(t, exitUsage, `no attribute "kid"`)

	// What cannot be applied changes nothing, and says what to do.
	for want, text := range map[string]string{
		`route "r": for agent.error: its match "payload.reson == ''" does not fit parley.ErrorReply`: `routes: [{name: r, types: [agent.error], match: "payload.reson == ''", destinations: ["agent:a"]}]`,
		`there is no agent c, it has no inbox: start it once`:                                        `routes: [{name: r, destinations: ["agent:c"]}]`,
		`two routes are named "r"`:                    `routes: [{name: r, destinations: ["agent:a"]}, {name: r, destinations: ["agent:a"]}]`,
		"field priorty not found":                     `routes: [{name: r, priorty: 1, destinations: ["agent:a"]}]`,
		"line 1: a destination has no field wait":     `routes: [{name: r, destinations: [{to: "agent:a", wait: 1}]}]`,
		"it has no routes":                            `{}`,
		"it is empty":                                 ``,
		"goes on after its first document":            "routes: []\n---\nroutes: []",
		`no schema names that type: register it with`: `routes: [{name: r, types: [no.such], match: "payload.x == 1", destinations: ["agent:a"]}]`,
	} {
		runIn(t, s, "routes", "apply", routesFileOf(t, text)).failed(t, exitFailure, want)
	}

	// The list is a file of routes, too: JSON is YAML.
	asJSON := runIn(t, s, "routes", "list", "--json").ok(t).stdout
	if out := runIn(t, s, "routes", "apply", routesFileOf(t, asJSON), "--reason", "again", "--json").ok(t).stdout; out != `{"version":2,"routes":2}`+"\n" {
		t.Errorf("%q", out)
	}
	runIn(t, s, "routes", "apply", routesFileOf(t, `routes: []`)).ok(t)
	runIn(t, s, "routes", "rollback", "9").failed(t, exitFailure, "there is no version 9")
	runIn(t, s, "routes", "rollback", "last").failed(t, exitUsage, `"last" is not a version`)
	if out := runIn(t, s, "routes", "rollback", "2").ok(t).stdout; out != "version 4 is in force: 2 routes\n" {
		t.Errorf("%q", out)
	}
	var history struct{ Versions []versionReport }
	if err := json.Unmarshal([]byte(runIn(t, s, "routes", "history", "--json").ok(t).stdout), &history); err != nil || len(history.Versions) != 4 {
		t.Fatalf("%+v, %v", history, err)
	}
	if v := history.Versions[0]; v.Version != 4 || v.Reason != "back to version 2" || v.By != operator() || v.Routes != 2 || time.Since(v.At) > time.Minute {
		t.Errorf("%+v", v)
	}
	if out := runIn(t, s, "routes", "history").ok(t).stdout; strings.Count(out, "\n") != 5 {
		t.Error(out)
	}
}

func TestRoutesOfAFileAreTestedWithoutBeingApplied(t *testing.T) {
	s := server(t)
	file := routesFileOf(t, `routes: [{name: r, match: "source == 'me' && last && hops == 3 && sequence == 2 && key == 'k'", destinations: ["stream:nowhere"]}]`)
	out := runIn(t, s, "routes", "test", "--file", file, "--type", "any.type",
		"--attr", "source=me", "--attr", "last=true", "--attr", "hops=3", "--attr", "sequence=2", "--attr", "key=k").ok(t).stdout
	if !strings.HasSuffix(out, "it goes to stream:nowhere\n") {
		t.Error(out)
	}
	runIn(t, s, "routes", "test", "--file", file, "--type", "any.type").failed(t, exitFailure, "matches this any.type")
	runIn(t, s, "routes", "test", "--file", file, "--type", ".").failed(t, exitUsage, "--type")
}

func TestRouterCommand(t *testing.T) {
	s := server(t)
	runIn(t, s, "topics", "apply", "--agent", "a", "--partitions", "1").ok(t)
	runIn(t, s, "topics", "apply", "--agent", "router", "--partitions", "1").ok(t)
	reg, err := schemas.NewRegistry(s.RegistryURL())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	if _, err := reg.Register(t.Context(), schemas.ErrorReply{}.Schema()); err != nil {
		t.Fatal(err)
	}
	runIn(t, s, "routes", "apply", routesFileOf(t, `routes: [{name: r, destinations: ["agent:a"]}]`)).ok(t)
	runIn(t, s, "send", "--to", "router", "--type", "agent.error", "--payload", `{"reason":"unknown","message":"hello"}`, "--id", "n-1").ok(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		var out, log strings.Builder
		ended <- run(ctx, against(s, []string{"router"}), &out, &log)
	}()
	for {
		if out := runIn(t, s, "tail", "--agent", "a"); strings.Contains(out.stdout, "n-1") {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("nothing is forwarded: %+v", out)
		}
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	runIn(t, s, "router", "--name", "No").failed(t, exitUsage, "--name")
}
