package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// closeTimeout bounds the end of the embedded broker.
const closeTimeout = 10 * time.Second

// serviceFile is where the outside service of the demo keeps what it took.
const serviceFile = "outside-service.tsv"

// demoFlags are the demo's flags.
type demoFlags struct {
	data        string
	brokers     []string
	registry    string
	schemaCache string
	feed        string
	seed        uint64
	duplicates  int
	malformed   int
	tiers       []time.Duration
	partitions  int32
	protocol    string
	json        bool
	model       string
	modelName   string
	metricsOut  string
	metricsAddr string
	logLevel    slog.Level

	keepService bool // --data was given beside --brokers
}

func newDemoCmd(a *app) *cobra.Command {
	f := demoFlags{logLevel: slog.LevelError}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the earthquake agents on real input",
		Long: `Agents work on a week of the real earthquake feed: feed publishes the events, triage sorts them. For each strong
one dispatch asks an analyst, has field teams negotiate who goes, and raises an alert. Routes say who is warned; notify
hands alerts to a flaky outside service; registrar counts the event on a shared board. Duplicates, malformed records,
failures, retries and dead letters are part of it. At the end a table says what became of every record, recomputed from
the topics alone.

By default it runs on a broker and a schema registry in this process, durable in the folder of --data. Run again on
the same folder it has no second effect; ended at any moment, it goes on where it was. With --brokers and --registry
it runs on a Kafka cluster; then --data names no broker's folder, only one where the outside service keeps what it took.

With --model the analyst asks a language model for its sentence, once for each strong event: it is sent place, magnitude,
depth and kind of the event and nothing else. The API key is that of PARLEY_MODEL_KEY or OPENAI_API_KEY.`,
		Example: `  parley demo
  parley demo --data '' --json
  parley demo --feed https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/all_day.geojson
  parley demo --brokers localhost:9092 --registry http://localhost:8081
  parley demo --model http://localhost:11434 --model-name llama3.2`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.keepService = cmd.Flags().Changed("data")
			if err := f.validate(); err != nil {
				return usagef(cmd, "%w", err)
			}
			return runDemo(cmd.Context(), a, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", defaultData, "folder of the embedded broker; '' keeps all in memory")
	flags.StringSliceVar(&f.brokers, "brokers", nil, "run on this Kafka cluster instead (host:port, comma-separated)")
	flags.StringVar(&f.registry, "registry", "", "URL of the cluster's schema registry")
	flags.StringVar(&f.schemaCache, "schema-cache", "", "folder that remembers the cluster's schemas, for a start while its registry is down")
	flags.StringVar(&f.feed, "feed", "", "URL or file of a feed in USGS GeoJSON, plain or gzip (default: a bundled week)")
	flags.Uint64Var(&f.seed, "seed", 1, "of what is sent twice, malformed, and of the outside service's failures")
	flags.IntVar(&f.duplicates, "duplicates", 40, "events sent a second time")
	flags.IntVar(&f.malformed, "malformed", 12, "records sent that break the contract")
	flags.DurationSliceVar(&f.tiers, "tiers", []time.Duration{250 * time.Millisecond, time.Second}, "delays of the retry topics, shortest first")
	flags.Int32Var(&f.partitions, "partitions", 3, "of topics that do not exist yet")
	flags.StringVar(&f.protocol, "group-protocol", string(kafka.ProtocolClassic), "of the agents' consumer groups: classic or consumer")
	flags.StringVar(&f.model, "model", "", "URL of an OpenAI-compatible server that the analyst asks (default: it goes by a rule)")
	flags.StringVar(&f.modelName, "model-name", "", "the model's name there")
	flags.BoolVar(&f.json, "json", false, "end with one JSON object instead of the table")
	flags.StringVar(&f.metricsOut, "metrics-out", "", "keep the last metrics in this file")
	flags.StringVar(&f.metricsAddr, "metrics-addr", "", "serve /metrics, /healthz and /readyz on this host:port")
	flags.TextVar(&f.logLevel, "log-level", slog.LevelError, "what is logged on stderr: debug, info, warn or error")
	return cmd
}

func (f *demoFlags) validate() error {
	var errs []error
	if (len(f.brokers) == 0) != (f.registry == "") {
		errs = append(errs, errors.New("--brokers and --registry belong together: name both, or none for the embedded ones"))
	}
	if f.duplicates < 0 || f.malformed < 0 {
		errs = append(errs, errors.New("--duplicates and --malformed cannot be negative"))
	}
	if f.partitions < 1 {
		errs = append(errs, fmt.Errorf("--partitions is %d: at least 1 is needed", f.partitions))
	}
	if f.protocol != string(kafka.ProtocolClassic) && f.protocol != string(kafka.ProtocolConsumer) {
		errs = append(errs, fmt.Errorf("--group-protocol is %q: use classic or consumer", f.protocol))
	}
	if (f.model == "") != (f.modelName == "") {
		errs = append(errs, errors.New("--model and --model-name belong together: name both, or none for an analyst without a model"))
	}
	if f.model != "" {
		if _, err := quake.ModelEndpoint(f.model); err != nil {
			errs = append(errs, fmt.Errorf("--model: %w", err))
		}
	}
	if err := f.policy().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("--tiers: %w", err))
	}
	return errors.Join(errs...)
}

// policy is the demo's retry policy: an alert that fails twice goes through, one
// that always fails is dead within seconds.
func (f *demoFlags) policy() retry.Policy { return retry.Policy{Tiers: f.tiers, Attempts: 4} }

// runDemo reads the feed first: with a bad one nothing is started or written.
func runDemo(ctx context.Context, a *app, f demoFlags) (err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = f.interrupted()
		}
	}()
	events, err := quake.Load(ctx, f.feed)
	if err != nil {
		return err
	}
	d := &demo{
		flags:    f,
		plan:     quake.Plan{Events: events, Seed: f.seed, Duplicates: f.duplicates, Malformed: f.malformed},
		logger:   telemetry.NewLogger(a.stderr, f.logLevel, false),
		progress: newProgress(a.stderr),
		stdout:   a.stdout,
	}
	defer d.progress.end()
	if d.model, err = f.newModel(); err != nil {
		return err
	}
	endMetrics, err := d.serveMetrics(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endMetrics()) }()
	servicePath := ""
	if len(f.brokers) == 0 {
		server, err := embedded.Start(ctx, embedded.Config{Dir: f.data, Logger: d.logger})
		if err != nil {
			return err
		}
		defer func() {
			// ctx may have ended: closing the folder well must not be cut short.
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			err = errors.Join(err, server.Close(closing))
		}()
		d.brokers, d.registry = server.Brokers(), server.RegistryURL()
		if f.data != "" {
			servicePath = filepath.Join(f.data, serviceFile)
		}
	} else {
		d.brokers, d.registry = f.brokers, f.registry
		if f.keepService && f.data != "" {
			if err := os.MkdirAll(f.data, 0o755); err != nil {
				return fmt.Errorf("--data: %w", err)
			}
			servicePath = filepath.Join(f.data, serviceFile)
		}
	}
	if d.service, err = quake.NewService(servicePath, f.seed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.service.Close()) }()
	return d.run(ctx)
}

// interrupted says what an interrupted run leaves.
func (f *demoFlags) interrupted() error {
	if f.data == "" && len(f.brokers) == 0 {
		return errors.New("interrupted")
	}
	return errors.New("interrupted; nothing is lost, the same command goes on from here")
}
