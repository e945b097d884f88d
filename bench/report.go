package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// report is what a run has found.
type report struct {
	Date       string            `json:"date"`
	CPUs       int               `json:"cpus"`
	MemoryGiB  int               `json:"memory_gib,omitempty"`
	Versions   map[string]string `json:"versions"`
	Rounds     int               `json:"rounds"`
	Messages   int               `json:"messages"`
	Slow       int               `json:"slow_messages"`
	ValueBytes int               `json:"value_bytes"`
	Partitions int               `json:"partitions"`
	Keys       int               `json:"keys"`
	Batch      int               `json:"batch"`
	Seconds    float64           `json:"seconds"`
	GOGC       string            `json:"gogc"`

	Copies    []*copyRow    `json:"copies"`
	Latencies []*latencyRow `json:"latencies"`
	Ledger    *ledgerRow    `json:"ledger,omitempty"`
}

// copyRow is one peer's throughput.
type copyRow struct {
	Name      string    `json:"name"`
	PerSecond []float64 `json:"per_second"`
	Median    float64   `json:"median_per_second"`
	CPU       float64   `json:"cpu_us_per_message"`
	CPUs      []float64 `json:"cpu_us_per_message_by_round"`
	Broker    float64   `json:"broker_cpu_us_per_message,omitempty"`
	Batch     float64   `json:"records_per_transaction,omitempty"`
	Ratios    []ratio   `json:"ratios,omitempty"`

	batches []float64
	brokers []float64
}

// ratio is the median of the rounds' own ratios: both peers of one round had
// the same neighbours on the machine.
type ratio struct {
	To     string  `json:"to"`
	Median float64 `json:"median"`
}

// latencyRow is one peer's times at one rate in milliseconds: the medians of the
// rounds' quantiles.
type latencyRow struct {
	Name string    `json:"name"`
	Rate int       `json:"rate_per_second"`
	P50  float64   `json:"p50_ms"`
	P99  float64   `json:"p99_ms"`
	P50s []float64 `json:"p50_ms_by_round"`
	P99s []float64 `json:"p99_ms_by_round"`
	// Of the medians, to the raw peer's of the same round and rate; 0: there is none.
	Ratio  float64   `json:"p50_ratio,omitempty"`
	Ratios []float64 `json:"p50_ratio_by_round,omitempty"`
}

// comparisons are the ratios that the table shows.
var comparisons = []struct{ of, to string }{
	{nameParley, nameRaw},
	{nameParley, nameRawAvro},
	{nameParley, nameWatermill},
	{nameParleyEOS, nameRawTxn},
	{nameParleyEOS, nameTxnAvro},
	{nameParleyEOS, nameSession},
	{nameFailing, nameParley},
}

func newReport(ctx context.Context, e *env, o options) *report {
	r := &report{
		Date: time.Now().UTC().Format(time.DateOnly), CPUs: runtime.NumCPU(), MemoryGiB: memory(),
		Versions: map[string]string{"go": runtime.Version()},
		Rounds:   o.rounds, Messages: o.messages, Slow: o.slow, ValueBytes: valueBytes, Partitions: partitions,
		Keys: o.keys, Batch: o.batch, GOGC: cmp.Or(os.Getenv("GOGC"), "100"),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			switch d.Path {
			case "github.com/twmb/franz-go", "github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/IBM/sarama":
				r.Versions[strings.TrimPrefix(d.Path, "github.com/")] = d.Version
			}
		}
	}
	if v, err := e.admin.ApiVersions(ctx); err == nil {
		v.Each(func(b kadm.BrokerApiVersions) { r.Versions["kafka"] = b.VersionGuess() })
	}
	return r
}

// memory is the machine's, where the system says it.
func memory() int {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kib int
	if _, err := fmt.Sscanf(string(info), "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return (kib + 1<<19) >> 20
}

func (r *report) copyRow(name string) *copyRow {
	for _, row := range r.Copies {
		if row.Name == name {
			return row
		}
	}
	return nil
}

func (r *report) copied(name string, c copied) {
	row := r.copyRow(name)
	if row == nil {
		row = &copyRow{Name: name}
		r.Copies = append(r.Copies, row)
	}
	row.PerSecond = append(row.PerSecond, c.perSecond)
	row.CPUs = append(row.CPUs, microseconds(c.cpu))
	row.batches = append(row.batches, c.batch)
	row.brokers = append(row.brokers, microseconds(c.broker))
}

func (r *report) latencyRow(name string, rate int) *latencyRow {
	for _, row := range r.Latencies {
		if row.Name == name && row.Rate == rate {
			return row
		}
	}
	return nil
}

// took enters the times of a round.
func (r *report) took(name string, rate int, took []time.Duration) {
	row := r.latencyRow(name, rate)
	if row == nil {
		row = &latencyRow{Name: name, Rate: rate}
		r.Latencies = append(r.Latencies, row)
	}
	row.P50s = append(row.P50s, milliseconds(quantile(took, 0.5)))
	row.P99s = append(row.P99s, milliseconds(quantile(took, 0.99)))
}

// conclude makes the medians of what the rounds have found.
func (r *report) conclude() {
	for _, row := range r.Copies {
		row.Median = median(row.PerSecond)
		row.CPU = median(row.CPUs)
		row.Batch = median(row.batches)
		row.Broker = median(row.brokers)
	}
	for _, c := range comparisons {
		of, to := r.copyRow(c.of), r.copyRow(c.to)
		if of == nil || to == nil {
			continue
		}
		var ratios []float64
		for i := range of.PerSecond {
			ratios = append(ratios, of.PerSecond[i]/to.PerSecond[i])
		}
		of.Ratios = append(of.Ratios, ratio{To: c.to, Median: median(ratios)})
	}
	for _, row := range r.Latencies {
		row.P50, row.P99 = median(row.P50s), median(row.P99s)
		raw := r.latencyRow(nameRawAsk, row.Rate)
		if row.Name != nameParleyAsk || raw == nil {
			continue
		}
		for i := range row.P50s {
			row.Ratios = append(row.Ratios, row.P50s[i]/raw.P50s[i])
		}
		row.Ratio = median(row.Ratios)
	}
}

func (r *report) print(out io.Writer) error {
	var versions []string
	for name, v := range r.Versions {
		versions = append(versions, name+" "+v)
	}
	slices.Sort(versions)
	_, _ = fmt.Fprintf(out, "%s, %d CPUs, %d GiB, broker on the same machine; %s\n", r.Date, r.CPUs, r.MemoryGiB, strings.Join(versions, ", "))
	_, _ = fmt.Fprintf(out, "%d rounds of %d messages (Watermill %d) of %d B, %d keys, %d partitions; raw batches of %d; GOGC=%s for all; %.0f s in all\n\n",
		r.Rounds, r.Messages, r.Slow, r.ValueBytes, r.Keys, r.Partitions, r.Batch, r.GOGC, r.Seconds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Copies) > 0 {
		_, _ = fmt.Fprintln(w, "consume, handle, produce\tmsg/s, median\tlowest\thighest\tclient CPU µs/msg\tbroker CPU µs/msg\trecords per transaction\tratio, median")
	}
	for _, row := range r.Copies {
		batch := "-"
		if row.Batch > 0 {
			batch = fmt.Sprintf("%.0f", row.Batch)
		}
		broker := "-"
		if row.Broker > 0 {
			broker = fmt.Sprintf("%.1f", row.Broker)
		}
		var ratios []string
		for _, q := range row.Ratios {
			ratios = append(ratios, fmt.Sprintf("%.2f × %s", q.Median, q.To))
		}
		_, _ = fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.1f\t%s\t%s\t%s\n", row.Name, row.Median, slices.Min(row.PerSecond), slices.Max(row.PerSecond), row.CPU, broker, batch, strings.Join(ratios, ", "))
	}
	if len(r.Latencies) > 0 {
		_, _ = fmt.Fprintln(w, "\n\tper second\tp50 ms, median\tp99 ms, median\tp99 ms, lowest\tp99 ms, highest\tp50, ratio, median")
	}
	for _, row := range r.Latencies {
		ratio := ""
		if row.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f × %s", row.Ratio, nameRawAsk)
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%s\n", row.Name, row.Rate, row.P50, row.P99, slices.Min(row.P99s), slices.Max(row.P99s), ratio)
	}
	if r.Ledger != nil {
		_, _ = fmt.Fprintf(w, "\n%s\n", r.Ledger)
	}
	return w.Flush()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile is the smallest value that at least that part of all does not
// exceed.
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
