package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// All of a run but Watermill, whose client the fake broker is not made for, in
// small: a run that counts wrongly fails.
func TestRun(t *testing.T) {
	c := streamtest.NewCluster(t)
	var out bytes.Buffer
	err := run(t.Context(), []string{
		"-brokers", strings.Join(c.Brokers, ","), "-rounds", "2", "-messages", "2000", "-slow-messages", "100", "-keys", "200",
		"-rate", "100", "-request-rates", "100", "-seconds", "1", "-ids", "20000", "-only", "raw,parley", "-json",
	}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Ledger == nil || r.Ledger.Rebuild <= 0 || r.Ledger.MiB <= 0 {
		t.Errorf("no figures of the ledger: %+v", r.Ledger)
	}
	if len(r.Copies) != 8 || len(r.Latencies) != 3 {
		t.Fatalf("the report lacks rows:\n%s", out.String())
	}
	for _, row := range r.Copies {
		if len(row.PerSecond) != 2 || row.Median <= 0 {
			t.Errorf("%s has no figures: %+v", row.Name, row)
		}
	}
	if err := r.print(io.Discard); err != nil {
		t.Error(err)
	}
}

// Each rate has a row of its own, and its ratio to the raw peer at the same rate.
func TestRatesHaveRows(t *testing.T) {
	o, err := parse([]string{"-request-rates", "10,20"}, io.Discard)
	if err != nil || !slices.Equal(o.askRates, []int{10, 20}) {
		t.Fatalf("rates %v, %v", o.askRates, err)
	}
	for _, wrong := range []string{"", "10,", "0", "-1", "10,10", "fast"} {
		if _, err := parse([]string{"-request-rates", wrong}, io.Discard); err == nil {
			t.Errorf("-request-rates %q is taken", wrong)
		}
	}
	var r report
	for range 3 {
		for i, rate := range o.askRates {
			r.took(nameRawAsk, rate, []time.Duration{time.Millisecond})
			r.took(nameParleyAsk, rate, []time.Duration{time.Duration(i+2) * time.Millisecond})
		}
	}
	r.conclude()
	var out strings.Builder
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for i, rate := range o.askRates {
		row := r.latencyRow(nameParleyAsk, rate)
		if len(row.P50s) != 3 || row.Ratio != float64(i+2) {
			t.Errorf("at %d/s: %+v", rate, row)
		}
		if line := regexp.MustCompile(fmt.Sprintf(`(?m)^%s +%d +%d\.0 `, nameParleyAsk, rate, i+2)); !line.MatchString(out.String()) {
			t.Errorf("at %d/s there is no line:\n%s", rate, &out)
		}
	}
}

func TestReadingHasItsSize(t *testing.T) {
	codec := schemas.NewCodec(schemas.NewMemoryRegistry())
	for _, seq := range []int64{0, 63, 64, 199_999, 10_000_000} {
		value, err := codec.Encode(t.Context(), reading(seq))
		if err != nil || len(value) != valueBytes || seqOf(value) != seq {
			t.Errorf("reading %d has %d bytes and says it is %d, %v", seq, len(value), seqOf(value), err)
		}
	}
}

func TestMedianAndQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(i+1))
	}
	slices.Reverse(took)
	if p50, p99 := quantile(took, 0.5), quantile(took, 0.99); p50 != 50 || p99 != 99 {
		t.Errorf("p50 %d, p99 %d of 1 to 100", p50, p99)
	}
}
