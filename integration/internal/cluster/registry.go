//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	registryPort = "8080/tcp"
	confluentAPI = "/apis/ccompat/v7"
)

// Registry is a running schema registry.
type Registry struct {
	// URL is the base of its Confluent API.
	URL string

	container *testcontainers.DockerContainer
}

// StartRegistry starts a registry that keeps its schemas in the given Kafka, for one test, and ends it after the test.
func StartRegistry(t testing.TB, kafka *Kafka) *Registry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	registry, err := startRegistry(ctx, kafka)
	if err != nil {
		t.Fatalf("registry: %v", err)
	}
	t.Cleanup(func() {
		if err := registry.stop(); err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	return registry
}

func startRegistry(ctx context.Context, kafka *Kafka) (_ *Registry, err error) {
	image, err := registryImage.choose(ctx)
	if err != nil {
		return nil, err
	}
	registry := &Registry{}
	defer func() {
		if err != nil {
			err = errors.Join(err, registry.stop())
		}
	}()
	registry.container, err = testcontainers.Run(ctx, image,
		network.WithNetwork([]string{"registry"}, kafka.network),
		testcontainers.WithLabels(label),
		testcontainers.WithEnv(map[string]string{
			"APICURIO_STORAGE_KIND":               "kafkasql",
			"APICURIO_KAFKASQL_BOOTSTRAP_SERVERS": kafka.InternalBootstrap(),
			// The registry polls its topics for this long, several times, before it serves: 5 s by default.
			"APICURIO_KAFKASQL_CONSUMER_POLL_TIMEOUT": "500",
		}),
		testcontainers.WithExposedPorts(registryPort),
		testcontainers.WithWaitStrategyAndDeadline(2*time.Minute,
			wait.ForHTTP(confluentAPI+"/subjects").WithPort(registryPort).WithStartupTimeout(2*time.Minute)),
	)
	if err != nil {
		return nil, fmt.Errorf("start from %s: %w%s", image, err, lastLines(registry.container))
	}
	base, err := registry.container.PortEndpoint(ctx, registryPort, "http")
	if err != nil {
		return nil, err
	}
	registry.URL = base + confluentAPI
	return registry, nil
}

func (r *Registry) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return terminate(ctx, r.container)
}
