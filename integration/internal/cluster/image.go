//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/testcontainers/testcontainers-go"
)

// image names the ways to one image, in the order they are tried.
type image struct {
	env    string // set by the user: taken as it is
	local  string // built by make kafka-image, make registry-image: taken where it is present
	public string // pulled otherwise
}

var (
	kafkaImage = image{
		env:    "PARLEY_KAFKA_IMAGE",
		local:  "parley/kafka:4.4.0",
		public: "apache/kafka:4.4.0",
	}
	registryImage = image{
		env:    "PARLEY_REGISTRY_IMAGE",
		local:  "parley/apicurio-registry:3.3.3",
		public: "apicurio/apicurio-registry:3.3.3",
	}
)

func init() {
	// The reaper is one more image, which cannot be pulled everywhere. Each test ends its own containers, and
	// make clean removes those of a killed run. Who wants the reaper sets the variable to false.
	setDefault("TESTCONTAINERS_RYUK_DISABLED", "true")

	// Tests that run inside a container are taken to be beside the engine's host, not on it. Where the engine's
	// own pid file is seen, the engine is in here too, and its published ports are local.
	if _, err := os.Stat("/var/run/docker.pid"); err == nil && os.Getenv("DOCKER_HOST") == "" {
		setDefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	}
}

func setDefault(variable, value string) {
	if _, set := os.LookupEnv(variable); !set {
		_ = os.Setenv(variable, value)
	}
}

func (i image) choose(ctx context.Context) (name string, err error) {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", fmt.Errorf("no Docker engine answers (make docker installs one): %w", err)
	}
	defer func() { err = errors.Join(err, provider.Close()) }()
	if err := provider.Health(ctx); err != nil {
		return "", fmt.Errorf("no Docker engine answers (make docker installs one): %w", err)
	}
	if name := os.Getenv(i.env); name != "" {
		return name, nil
	}
	if _, err := provider.Client().ImageInspect(ctx, i.local); err == nil {
		return i.local, nil
	}
	return i.public, nil
}
