//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const postgresPort = "5432/tcp"

var postgresImage = image{
	env:    "PARLEY_POSTGRES_IMAGE",
	local:  "parley/postgres:15",
	public: "postgres:15",
}

// Postgres is a running database server.
type Postgres struct {
	// URL names its database postgres.
	URL string

	container *testcontainers.DockerContainer
}

// SharedPostgres is the database server that all tests of the binary share. Tests
// keep apart by their databases.
func SharedPostgres(t testing.TB) *Postgres {
	t.Helper()
	postgres, err := shared.postgres.get(startPostgres)
	if err != nil {
		t.Fatalf("postgres: %v", err)
	}
	return postgres
}

func startPostgres(ctx context.Context) (_ *Postgres, err error) {
	image, err := postgresImage.choose(ctx)
	if err != nil {
		return nil, err
	}
	postgres := &Postgres{}
	defer func() {
		if err != nil {
			err = errors.Join(err, postgres.stop())
		}
	}()
	postgres.container, err = testcontainers.Run(ctx, image,
		testcontainers.WithLabels(label),
		testcontainers.WithEnv(map[string]string{"POSTGRES_HOST_AUTH_METHOD": "trust"}), // of the public image
		testcontainers.WithCmd("-c", "max_connections=200"),
		testcontainers.WithExposedPorts(postgresPort),
		testcontainers.WithWaitStrategyAndDeadline(time.Minute, wait.ForAll(
			wait.ForLog("database system is ready to accept connections"), wait.ForListeningPort(postgresPort))),
	)
	if err != nil {
		return nil, fmt.Errorf("start from %s: %w%s", image, err, lastLines(postgres.container))
	}
	address, err := postgres.container.PortEndpoint(ctx, postgresPort, "")
	if err != nil {
		return nil, err
	}
	postgres.URL = "postgres://postgres@" + address + "/postgres?sslmode=disable"
	return postgres, nil
}

func (p *Postgres) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return terminate(ctx, p.container)
}
