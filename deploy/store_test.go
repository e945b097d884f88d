package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"
)

// scrape is one exposition in the Prometheus text format, and when it was taken.
type scrape struct {
	at   time.Time
	text []byte
}

// history is a storage that holds scrapes, with an engine of Prometheus' own
// defaults over it.
type history struct {
	storage    *teststorage.TestStorage
	engine     *promql.Engine
	start, end time.Time
}

// load stores the scrapes as Prometheus would: with the target's labels and
// the up metric.
func load(t *testing.T, scrapes []scrape) *history {
	t.Helper()
	if len(scrapes) < 2 {
		t.Fatalf("%d scrapes: a rate needs two", len(scrapes))
	}
	h := &history{
		storage: teststorage.New(t),
		engine: promql.NewEngine(promql.EngineOpts{
			MaxSamples: 50_000_000, Timeout: time.Minute,
			EnableAtModifier: true, EnableNegativeOffset: true,
		}),
		start: scrapes[0].at,
		end:   scrapes[len(scrapes)-1].at,
	}
	t.Cleanup(func() {
		if err := h.engine.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range scrapes {
		if err := h.append(s); err != nil {
			t.Fatalf("scrape of %s: %v", s.at.Format(time.TimeOnly), err)
		}
	}
	return h
}

func (h *history) append(s scrape) (err error) {
	app := h.storage.Appender(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, app.Rollback())
			return
		}
		err = app.Commit()
	}()
	ts := s.at.UnixMilli()
	target := func(b *labels.Builder) labels.Labels {
		return b.Set("job", "parley").Set("instance", "demo:1").Labels()
	}
	up := labels.NewBuilder(labels.FromStrings("__name__", "up"))
	if _, err := app.Append(0, target(up), ts, 1); err != nil {
		return err
	}
	p, err := textparse.New(s.text, "text/plain; version=0.0.4", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for samples := 0; ; {
		entry, err := p.Next()
		switch {
		case errors.Is(err, io.EOF) && samples == 0:
			return errors.New("no samples")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case entry != textparse.EntrySeries:
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, v := p.Series()
		// Empty labels are no labels; the builder drops them as a scrape does.
		if _, err := app.Append(0, target(labels.NewBuilder(l)), ts, v); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		samples++
	}
}

// eval runs a query over the whole history.
func (h *history) eval(query string) (promql.Matrix, error) {
	step := max(h.end.Sub(h.start)/100, 10*time.Millisecond)
	q, err := h.engine.NewRangeQuery(context.Background(), h.storage, nil, query, h.start, h.end, step)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	r := q.Exec(context.Background())
	m, err := r.Matrix()
	if err != nil {
		return nil, err
	}
	// The points go back to a pool when the query is closed.
	kept := make(promql.Matrix, 0, len(m))
	for _, s := range m {
		kept = append(kept, promql.Series{Metric: s.Metric.Copy(), Floats: append([]promql.FPoint(nil), s.Floats...)})
	}
	return kept, nil
}

// shown returns how many points of a result can be drawn, and the greatest.
func shown(m promql.Matrix) (points int, most float64) {
	most = math.Inf(-1)
	for _, s := range m {
		for _, p := range s.Floats {
			if !math.IsNaN(p.F) && !math.IsInf(p.F, 0) {
				points++
				most = max(most, p.F)
			}
		}
	}
	return points, most
}

// checkPanels evaluates every query of the dashboard for all agents and for
// each agent alone, and reports what a viewer would miss: a query without a
// point, a legend that names a label which the result does not have, and a
// panel of events in which nothing ever happened.
func checkPanels(t *testing.T, d *dashboard, h *history) {
	t.Helper()
	for _, p := range d.queried() {
		greatest := math.Inf(-1)
		for _, q := range p.Targets {
			m, err := h.eval(substitute(q.Expr, ".+"))
			if err != nil {
				t.Errorf("%s, %s: %v\n%s", p.Title, q.RefID, err, q.Expr)
				continue
			}
			points, most := shown(m)
			if points == 0 {
				t.Errorf("%s, %s: empty\n%s", p.Title, q.RefID, q.Expr)
				continue
			}
			greatest = max(greatest, most)
			for _, name := range q.legendLabels() {
				for _, s := range m {
					if s.Metric.Get(name) == "" {
						t.Errorf("%s, %s: the legend names %s, which %s does not have", p.Title, q.RefID, name, s.Metric)
					}
				}
			}
		}
		// Lag and what is in flight may be zero at every scrape, and nothing may hold an agent back.
		gauge := strings.HasPrefix(p.Title, "Lag") || p.Title == "In flight" || p.Title == "Bytes in flight" || p.Title == "Held back"
		if !gauge && greatest <= 0 {
			t.Errorf("%s: nothing but zero", p.Title)
		}
	}
}

// selectors returns the metric names that a query reads.
func selectors(query string) ([]string, error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return nil, err
	}
	var names []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			names = append(names, v.Name)
		}
		return nil
	})
	return names, nil
}
