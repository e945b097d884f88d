//go:build integration

// Package integration tests the platform on real Kafka and a real schema registry.
package integration

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/seed-c9b6dc07/parley/integration/internal/chaos"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(holderVariable); spec != "" {
		os.Exit(runHolder(spec))
	}
	if spec := os.Getenv(bookerVariable); spec != "" {
		os.Exit(runBooker(spec))
	}
	if spec := os.Getenv(chaos.WorkerVariable); spec != "" {
		os.Exit(chaos.RunWorker(spec))
	}
	if spec := os.Getenv(rolling.WorkerVariable); spec != "" {
		os.Exit(rolling.RunWorker(spec))
	}
	if spec := os.Getenv(marketVariable); spec != "" {
		os.Exit(runMarket(spec))
	}
	if spec := os.Getenv(askVariable); spec != "" {
		os.Exit(runAsk(spec))
	}
	if spec := os.Getenv(relayVariable); spec != "" {
		os.Exit(runRelay(spec))
	}
	cluster.Main(m)
}

// TestKafkaAnswers keeps the harness honest: a topic, a record in, the same record out, through the mapped port.
func TestKafkaAnswers(t *testing.T) {
	kafka := cluster.SharedKafka(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	topic := cluster.Name(t)

	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Bootstrap()), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	sent := &kgo.Record{Topic: topic, Key: []byte("key"), Value: []byte("value")}
	if err := client.ProduceSync(ctx, sent).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	records := fetches.Records()
	if len(records) != 1 || string(records[0].Value) != "value" || records[0].Partition != sent.Partition {
		t.Fatalf("consumed %v, want the one record that was produced", records)
	}
}

// TestRegistryAnswers registers a schema over the Confluent API and reads it back by its ID.
func TestRegistryAnswers(t *testing.T) {
	registry := cluster.SharedRegistry(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	client, err := sr.NewClient(sr.URLs(registry.URL))
	if err != nil {
		t.Fatal(err)
	}
	schema := sr.Schema{Schema: `{"type":"record","name":"Probe","namespace":"parley.integration","fields":[{"name":"id","type":"long"}]}`}
	created, err := client.CreateSchema(ctx, "parley.integration.Probe", schema)
	if err != nil {
		t.Fatal(err)
	}
	fetched, err := client.SchemaByID(ctx, created.ID)
	if err != nil {
		t.Fatal(err)
	}
	if fetched.Schema != schema.Schema {
		t.Fatalf("fetched %s, registered %s", fetched.Schema, schema.Schema)
	}
}
