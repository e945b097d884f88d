package deploy

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// dashboard is the part of Grafana's dashboard schema that the tests read.
type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name       string
			Type       string
			Definition string
			AllValue   string
		}
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  datasource
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []query
	Panels      []panel // of a collapsed row
}

type query struct {
	RefID        string
	Datasource   datasource
	Expr         string
	LegendFormat string
}

type datasource struct{ Type, UID string }

func dashboards(t *testing.T) map[string]*dashboard {
	t.Helper()
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards (%v)", err)
	}
	all := map[string]*dashboard{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d := &dashboard{}
		if err := json.Unmarshal(b, d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[filepath.Base(f)] = d
	}
	return all
}

// queried returns the panels that show data, those of rows too.
func (d *dashboard) queried() []panel {
	var out []panel
	var walk func([]panel)
	walk = func(ps []panel) {
		for _, p := range ps {
			if p.Type != "row" && p.Type != "text" {
				out = append(out, p)
			}
			walk(p.Panels)
		}
	}
	walk(d.Panels)
	return out
}

var legendLabel = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

func (q query) legendLabels() []string {
	var names []string
	for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
		names = append(names, m[1])
	}
	return names
}

// substitute puts values in the place of Grafana's variables. A minute is what
// $__rate_interval is at a scrape interval of 15 s.
func substitute(expr, agent string) string {
	return strings.NewReplacer(
		"$__rate_interval", "1m",
		"$__interval", "15s",
		"$__range", "30m",
		"${agent}", agent,
		"$agent", agent,
	).Replace(expr)
}

func TestDashboardShape(t *testing.T) {
	t.Parallel()
	for file, d := range dashboards(t) {
		if d.UID == "" || d.Title == "" || d.SchemaVersion < 39 {
			t.Errorf("%s: uid %q, title %q, schema %d (Grafana 11 is 39)", file, d.UID, d.Title, d.SchemaVersion)
		}
		variables := map[string]string{}
		for _, v := range d.Templating.List {
			variables[v.Name] = v.Type
		}
		if variables["datasource"] != "datasource" || variables["agent"] != "query" {
			t.Errorf("%s: variables %v", file, variables)
		}
		ids := map[int]string{}
		cells := map[[2]int]string{}
		for _, p := range d.queried() {
			if other, taken := ids[p.ID]; taken || p.ID == 0 {
				t.Errorf("%s: %q has ID %d, as %q", file, p.Title, p.ID, other)
			}
			ids[p.ID] = p.Title
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d lacks a title, a description, a unit or a query", file, p.ID)
			}
			if p.GridPos.W == 0 || p.GridPos.H == 0 || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: %q does not fit the grid: %+v", file, p.Title, p.GridPos)
			}
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if other, taken := cells[cell]; taken {
						t.Fatalf("%s: %q lies over %q", file, p.Title, other)
					}
					cells[cell] = p.Title
				}
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" {
					t.Errorf("%s: %q does not take its data source from the variable", file, p.Title)
				}
				if refs[q.RefID] || q.RefID == "" {
					t.Errorf("%s: %q has two queries %q", file, p.Title, q.RefID)
				}
				refs[q.RefID] = true
				if !strings.Contains(q.Expr, `agent=~"$agent"`) {
					t.Errorf("%s: %q does not select the agent: %s", file, p.Title, q.Expr)
				}
				if left := substitute(q.Expr, ".+"); strings.Contains(left, "$") {
					t.Errorf("%s: %q has a variable that the tests do not know: %s", file, p.Title, left)
				}
			}
		}
	}
}

// What the first dashboard is for; a panel may show more than one.
func TestDashboardCoversTheMetrics(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, d := range dashboards(t) {
		for _, p := range d.queried() {
			for _, q := range p.Targets {
				names, err := selectors(substitute(q.Expr, ".+"))
				if err != nil {
					t.Errorf("%s: %v", p.Title, err)
				}
				for _, n := range names {
					shown[n] = true
				}
			}
		}
	}
	for _, name := range []string{
		"messaging_client_consumed_messages_total", "messaging_client_sent_messages_total",
		"messaging_process_duration_seconds_bucket", "parley_end_to_end_latency_seconds_bucket",
		"parley_redeliveries_total", "parley_retries_total", "parley_dead_letters_total",
		"parley_duplicates_total", "parley_skipped_total", "parley_consumer_lag_seconds",
		"parley_in_flight", "parley_retry_lateness_seconds_bucket", "parley_in_flight_bytes",
		"parley_paused", "parley_breaker_open", "parley_limited_seconds_total",
	} {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// simulated is the expositions of a process in which two agents work, through
// the collectors of the platform, at 15 s.
func simulated(t *testing.T, busy bool) []scrape {
	t.Helper()
	reg := prometheus.NewRegistry()
	m, err := telemetry.New(reg)
	if err != nil {
		t.Fatal(err)
	}
	h := telemetry.Handler(reg, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"triage", "notify"}
	m.Outbox("shop")
	for _, name := range names {
		m.Agent(name).Sent("parley.inbox.dispatch", 0)
		m.Agent(name).Input("parley.inbox." + name)
		m.Agent(name).Instance()
	}
	var out []scrape
	at := time.Unix(1_700_000_000, 0)
	for range 20 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		out = append(out, scrape{at: at, text: bytes.Clone(w.Body.Bytes())})
		at = at.Add(15 * time.Second)
		if !busy {
			continue
		}
		for _, name := range names {
			i := m.Agent(name).Input("parley.inbox." + name)
			for n := range 50 {
				i.Consumed(1)
				d := time.Duration(rng.IntN(200)) * time.Millisecond
				switch {
				case n%10 == 9:
					i.Processed(streaming.ReasonHandler, d)
					i.Retrying(streaming.ReasonHandler)
					i.Redelivered()
					i.RetryLateness(d / 100)
				case n == 5:
					i.Duplicate()
				case n == 6:
					i.Skipped()
				case n == 7:
					i.DeadLettered(streaming.ReasonDecode)
				default:
					i.Processed("", d)
					i.Sent("parley.inbox.dispatch", 1)
				}
				i.EndToEnd(d)
			}
			i.InFlight(1)
			i.InFlightBytes(1000)
			held := m.Agent(name).Instance()
			held.Paused(true)
			held.BreakerOpen(true)
			held.Limited(streaming.LimitTokens, time.Second)
			i.Lag(0, time.Second)
		}
	}
	return out
}

func TestPanelsOnSimulatedWork(t *testing.T) {
	t.Parallel()
	h := load(t, simulated(t, true))
	for file, d := range dashboards(t) {
		t.Run(file, func(t *testing.T) { checkPanels(t, d, h) })
		// The agent variable must select.
		for _, p := range d.queried() {
			for _, q := range p.Targets {
				m, err := h.eval(substitute(q.Expr, "triage"))
				if err != nil {
					t.Fatal(err)
				}
				if points, _ := shown(m); points == 0 {
					t.Errorf("%s, %s: empty for one agent", p.Title, q.RefID)
				}
				for _, s := range m {
					if agent := s.Metric.Get("agent"); agent != "" && agent != "triage" {
						t.Errorf("%s, %s: shows %s where triage was chosen", p.Title, q.RefID, agent)
					}
				}
			}
		}
	}
}

// The check itself must see what is wrong.
func TestEmptyQueriesAreSeen(t *testing.T) {
	t.Parallel()
	busy, idle := load(t, simulated(t, true)), load(t, simulated(t, false))
	for _, c := range []struct {
		what, expr string
		h          *history
		empty      bool
	}{
		{"a wrong name", `sum(rate(parley_redelivery_total[1m]))`, busy, true},
		{"a wrong label value", `parley_in_flight{agent="nobody"}`, busy, true},
		{"a label that nothing has", `parley_in_flight{consumer_group=~".+"}`, busy, true},
		{"a quantile of nothing", `histogram_quantile(0.99, sum by (le) (rate(parley_retry_lateness_seconds_bucket[1m])))`, idle, true},
		{"the same of something", `histogram_quantile(0.99, sum by (le) (rate(parley_retry_lateness_seconds_bucket[1m])))`, busy, false},
		{"zero is a value", `sum(rate(parley_retries_total[1m]))`, idle, false},
		{"the target is up", `up`, idle, false},
	} {
		m, err := c.h.eval(c.expr)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if points, _ := shown(m); (points == 0) != c.empty {
			t.Errorf("%s: %d points", c.what, points)
		}
	}
	if _, err := busy.eval(`sum(`); err == nil {
		t.Error("a query that is no PromQL went through")
	}
	if err := busy.append(scrape{at: busy.end.Add(time.Second), text: []byte("what is {this\n")}); err == nil {
		t.Error("an exposition that is none was loaded")
	}
	if err := busy.append(scrape{at: busy.end.Add(time.Second)}); err == nil {
		t.Error("an empty exposition was loaded")
	}
}
