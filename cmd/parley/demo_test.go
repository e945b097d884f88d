package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// What the demo sends by default, and on the real feed.
const (
	events     = 1707
	dispatched = 85 // of magnitude 4.5 or above
	duplicates = 40
	malformed  = 12
	partitions = 3 // so many stops for each agent
)

const shortTiers = "50ms,200ms"

type demoJSON struct {
	demoTerms
	patterns
	ThisRun demoTerms `json:"this_run"`
}

type demoTerms struct {
	Published    int              `json:"published"`
	Agents       map[string]terms `json:"agents"`
	Conservation string           `json:"conservation"`
}

// demo runs the demo to its end and checks what holds for every run.
func demo(t *testing.T, dir string, args ...string) demoJSON {
	t.Helper()
	out := parley(t, append([]string{"demo", "--json", "--tiers", shortTiers, "--data", dir}, args...)...)
	if out.code != 0 {
		t.Fatalf("exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	return checkDemo(t, out.stdout)
}

func checkDemo(t *testing.T, stdout string) demoJSON {
	t.Helper()
	lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
	var r demoJSON
	dec := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("the last line is not the JSON: %v\n%s", err, stdout)
	}
	for name, d := range map[string]demoTerms{"cumulative": r.demoTerms, "this run": r.ThisRun} {
		if d.Conservation != "exact" {
			t.Errorf("%s: conservation: %s", name, d.Conservation)
		}
		for agent, a := range d.Agents {
			if a.Accepted != a.Done+a.Skipped+a.Duplicates+a.Retrying+a.Dead {
				t.Errorf("%s: %s: %+v does not add up", name, agent, a)
			}
		}
	}
	for agent, a := range r.Agents {
		if a.Retrying != a.Scheduled || a.Scheduled > 0 && agent != "dispatch" {
			t.Errorf("%s ends with %d messages retrying, %d of them scheduled", agent, a.Retrying, a.Scheduled)
		}
	}
	if got := r.Agents["triage"].DoneByType["quake.reported"]; got != events {
		t.Errorf("triage is done with %d events, want %d", got, events)
	}
	if got := r.Agents["triage"].DoneByType["agent.ack"]; got != dispatched {
		t.Errorf("triage got %d acks, want %d", got, dispatched)
	}
	if got := r.Agents["dispatch"].DoneByType["quake.dispatch"]; got != dispatched {
		t.Errorf("dispatch is done with %d commands, want %d", got, dispatched)
	}
	notify := r.Agents["notify"]
	if got := notify.DoneByType["quake.alert"] + notify.DeadByReason["handler"]; got != dispatched {
		t.Errorf("notify ended %d alerts, want %d", got, dispatched)
	}
	return r
}

// checkEffects holds what the outside service took against the alerts in
// notify's inbox: each had its effect once, but those that never go through. It
// returns the alerts' events.
func checkEffects(t *testing.T, dir string, all everything, seed uint64) (events []string) {
	t.Helper()
	alerts := map[string]string{} // their events, by message ID
	for _, recs := range all["parley.inbox.notify"] {
		for _, r := range recs {
			if id := first(r, "ce_id"); first(r, "ce_type") == "quake.alert" && alerts[id] == "" {
				alerts[id] = string(r.Key)
				events = append(events, string(r.Key))
			}
		}
	}
	slices.Sort(events)
	if len(events) != dispatched || len(slices.Compact(slices.Clone(events))) != dispatched {
		t.Errorf("%d alerts in notify's inbox, want %d, each of another event", len(events), dispatched)
	}
	text, err := os.ReadFile(filepath.Join(dir, "outside-service.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	effects := map[string]int{}
	for line := range strings.Lines(string(text)) {
		id, _, _ := strings.Cut(line, "\t")
		effects[id]++
	}
	for id, event := range alerts {
		want := 1
		if quake.Failures(seed, event) == quake.Never {
			want = 0
		}
		if effects[id] != want {
			t.Errorf("alert %s had its effect %d times, want %d", id, effects[id], want)
		}
		delete(effects, id)
	}
	if len(effects) > 0 {
		t.Errorf("effects of no alert: %v", effects)
	}
	return events
}

// check recounts the demo's folder and holds it against what the demo said.
func check(t *testing.T, dir string, r demoJSON) (alerts []string) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	counted, published := recount(t, server.Brokers())
	if published != r.Published {
		t.Errorf("%d records in the stream, the demo says %d", published, r.Published)
	}
	for agent, want := range counted {
		if got := r.Agents[agent]; !sameTerms(got, want) {
			t.Errorf("%s: the demo says\n%+v, recounted\n%+v", agent, got, want)
		}
	}
	all, _ := readAll(t, server.Brokers())
	checkPatterns(t, all, r.patterns)
	return checkEffects(t, dir, all, 1)
}

// TestDemo runs the demo twice on one folder: every term is what the topics say,
// and the second run has no second effect.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	metrics := filepath.Join(t.TempDir(), "metrics")
	started := time.Now()
	r := demo(t, dir, "--metrics-out", metrics)
	t.Logf("the demo took %s", time.Since(started).Round(time.Millisecond))

	if want := events + duplicates + malformed; r.Published != want || r.ThisRun.Published != want {
		t.Errorf("published %d, in this run %d, want %d", r.Published, r.ThisRun.Published, want)
	}
	for agent, a := range r.Agents {
		if !sameTerms(a, r.ThisRun.Agents[agent]) {
			t.Errorf("%s: the first run is %+v, all runs are %+v", agent, r.ThisRun.Agents[agent], a)
		}
	}
	triage := r.Agents["triage"]
	if triage.Accepted != events+duplicates+malformed+dispatched+partitions || triage.Duplicates != duplicates || triage.Dead != malformed ||
		triage.DeadByReason["decode"] != 3 || triage.DeadByReason["schema"] != 3 || triage.DeadByReason["contract"] != 6 {
		t.Errorf("triage: %+v", triage)
	}
	if d := r.Agents["dispatch"]; d.DoneByType["agent.stop"] != partitions || d.Done+d.Scheduled != d.Accepted {
		t.Errorf("dispatch: %+v", d)
	}
	alerts := check(t, dir, r)
	checkRedeliveries(t, r, metrics, alerts)

	second := demo(t, dir)
	check(t, dir, second)
	run := second.ThisRun
	if first, again := fmt.Sprint(r.patterns), fmt.Sprint(second.patterns); first != again {
		t.Errorf("after the first run\n%s, after the second\n%s", first, again)
	}
	if run.Published != events+duplicates+malformed || second.Published != 2*run.Published {
		t.Errorf("the second run published %d, in all %d", run.Published, second.Published)
	}
	for agent, a := range run.Agents {
		if a.Done != partitions || a.DoneByType["agent.stop"] != partitions || a.Redeliveries != 0 {
			t.Errorf("the second run has done more at %s than stop: %+v", agent, a)
		}
	}
	// Only a record without an ID is nobody's duplicate: one in four of the
	// malformed ones.
	if a := run.Agents["triage"]; a.Dead != malformed/4 || a.DeadByReason["contract"] != a.Dead ||
		a.Duplicates != events+duplicates+malformed-a.Dead {
		t.Errorf("the second run at triage: %+v", a)
	}
}

// checkRedeliveries holds the exposition against the seeded rule.
func checkRedeliveries(t *testing.T, r demoJSON, metrics string, alerts []string) {
	t.Helper()
	const attempts = 4
	want, dead := 0, 0
	for _, event := range alerts {
		switch n := quake.Failures(1, event); n {
		case quake.Never:
			want += attempts - 1
			dead++
		default:
			want += n
		}
	}
	if want == 0 || dead == 0 {
		t.Fatalf("the rule causes %d redeliveries and %d dead letters: nothing is tested", want, dead)
	}
	text, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(name string) int {
		total := 0
		for _, m := range regexp.MustCompile(`(?m)^`+name+`\{[^}]*\} (\S+)$`).FindAllStringSubmatch(string(text), -1) {
			v, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			total += int(v)
		}
		return total
	}
	if got := sum("parley_redeliveries_total"); got != want || r.Agents["notify"].Redeliveries != want {
		t.Errorf("redeliveries: metrics %d, audit %d, the rule causes %d", got, r.Agents["notify"].Redeliveries, want)
	}
	if got := sum("parley_dead_letters_total"); got != dead+malformed || r.Agents["notify"].Dead != dead {
		t.Errorf("dead letters: metrics %d, notify %d, the rule causes %d beside %d malformed", got, r.Agents["notify"].Dead, dead, malformed)
	}
	if got := sum("parley_duplicates_total"); got != duplicates {
		t.Errorf("duplicates: metrics %d, want %d", got, duplicates)
	}
	for _, name := range []string{
		"messaging_process_duration_seconds_count", "messaging_client_consumed_messages_total", "messaging_client_sent_messages_total",
		"parley_end_to_end_latency_seconds_count", "parley_retry_lateness_seconds_count", "parley_in_flight", "parley_consumer_lag_seconds",
	} {
		if !strings.Contains(string(text), "\n"+name+"{") {
			t.Errorf("the exposition has no %s", name)
		}
	}
}

// TestDemoTable runs the demo as a person does.
func TestDemoTable(t *testing.T) {
	t.Parallel()
	out := parley(t, "demo", "--data", "", "--tiers", shortTiers)
	if out.code != 0 {
		t.Fatalf("exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	for _, want := range []string{
		"1759 records published", "triage", "dispatch", "notify", "dead by reason: contract 6, decode 3, schema 3", "Conservation: exact.",
		"Negotiations: 85 called", "Requests: 85 asked, 85 answered", "Routes, version 1: 85 alerts routed", "Board regions: 34 regions, 85 updates",
	} {
		if !strings.Contains(out.stdout, want) {
			t.Errorf("the table has no %q:\n%s", want, out.stdout)
		}
	}
	for _, phase := range []string{"starting", "feeding", "handling", "stopping"} {
		if !strings.Contains(out.stderr, phase) {
			t.Errorf("no progress tells of %s:\n%s", phase, out.stderr)
		}
	}
}

// TestDemoInterrupted ends the demo by a signal and lets it go on.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	run := watch(t, "demo", "--json", "--tiers", shortTiers, "--data", dir)
	if !run.await("handling") {
		t.Fatalf("the demo ended before it handled anything:\n%s", run.text())
	}
	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stderr := run.ended()
	if code := run.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr, "parley: interrupted; nothing is lost") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
	check(t, dir, demo(t, dir))
}

// TestDemoBadInput: one clear line, a non-zero exit code, and nothing written.
func TestDemoBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noFeed := filepath.Join(dir, "feed.html")
	if err := os.WriteFile(noFeed, []byte("<html>not found</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	inUse := filepath.Join(dir, "in-use")
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: inUse})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close(t.Context()) }()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no GeoJSON":         {[]string{"--feed", noFeed}, 1, "is not GeoJSON"},
		"absent feed":        {[]string{"--feed", filepath.Join(dir, "absent")}, 1, "no such file"},
		"unknown flag":       {[]string{"--bogus"}, 2, "unknown flag"},
		"argument":           {[]string{"more"}, 2, "more"},
		"equal tiers":        {[]string{"--tiers", "1s,1s"}, 2, "--tiers"},
		"bad tier":           {[]string{"--tiers", "soon"}, 2, "--tiers"},
		"negative number":    {[]string{"--duplicates", "-1"}, 2, "negative"},
		"no partition":       {[]string{"--partitions", "0"}, 2, "--partitions"},
		"bad level":          {[]string{"--log-level", "loud"}, 2, "--log-level"},
		"model, no name":     {[]string{"--model", "http://127.0.0.1:1"}, 2, "--model-name"},
		"bad model":          {[]string{"--model", "here", "--model-name", "m"}, 2, "--model:"},
		"no registry":        {[]string{"--brokers", "127.0.0.1:1"}, 2, "--registry"},
		"unreachable broker": {[]string{"--brokers", "127.0.0.1:1", "--registry", "http://127.0.0.1:1"}, 1, "no Kafka broker answers"},
		"metrics file":       {[]string{"--metrics-out", filepath.Join(dir, "absent", "file")}, 1, "metrics"},
		"metrics address":    {[]string{"--metrics-addr", "nowhere"}, 1, "nowhere"},
		"folder in use":      {[]string{"--data", inUse}, 1, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"demo"}, c.args...)
			if name != "folder in use" && name != "unreachable broker" {
				args = append(args, "--data", data)
			}
			out := parley(t, args...)
			if out.code != c.code || out.stdout != "" || strings.Count(out.stderr, "\n") != 1 ||
				!strings.HasPrefix(out.stderr, "parley: ") || !strings.Contains(out.stderr, c.says) {
				t.Errorf("exit %d, want %d and %q\n%s%s", out.code, c.code, c.says, out.stdout, out.stderr)
			}
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Error("a folder was made")
			}
		})
	}
}

// TestDemoRefusesToLeaveMessagesWaiting: other tiers would strand what waits.
func TestDemoRefusesToLeaveMessagesWaiting(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	run := watch(t, "demo", "--json", "--tiers", "100ms,30s", "--data", dir)
	if !run.await("retrying") {
		t.Fatalf("the demo ended before anything waited:\n%s", run.text())
	}
	run.kill()
	out := parley(t, "demo", "--data", dir, "--tiers", shortTiers)
	if out.code != 1 || !strings.Contains(out.stderr, "wait in parley.inbox.") || !strings.Contains(out.stderr, ".retry-30s.") || !strings.Contains(out.stderr, "tiers") {
		t.Errorf("exit %d\n%s", out.code, out.stderr)
	}
}
