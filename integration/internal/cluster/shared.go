//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/testcontainers/testcontainers-go/log"
	"go.uber.org/goleak"
)

// shared is started by the first test that asks and kept for the whole binary; a failed start is not tried again.
var shared struct {
	kafka    once[*Kafka]
	registry once[*Registry]
	postgres once[*Postgres]
}

type once[T any] struct {
	do    sync.Once
	value T
	err   error
}

func (o *once[T]) get(start func(context.Context) (T, error)) (T, error) {
	o.do.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		o.value, o.err = start(ctx)
	})
	return o.value, o.err
}

// SharedKafka is the Kafka that all tests of the binary share. Tests keep apart by their topics: see Name.
func SharedKafka(t testing.TB) *Kafka {
	t.Helper()
	kafka, err := shared.kafka.get(func(ctx context.Context) (*Kafka, error) { return startKafka(ctx, KafkaOptions{}) })
	if err != nil {
		t.Fatalf("kafka: %v", err)
	}
	return kafka
}

// SharedRegistry is the registry that all tests of the binary share, on SharedKafka.
func SharedRegistry(t testing.TB) *Registry {
	t.Helper()
	kafka := SharedKafka(t)
	registry, err := shared.registry.get(func(ctx context.Context) (*Registry, error) { return startRegistry(ctx, kafka) })
	if err != nil {
		t.Fatalf("registry: %v", err)
	}
	return registry
}

// Name is a name of the test's own, made of its letters and digits and a random part: for topics, groups, namespaces.
func Name(t testing.TB) string {
	words := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-")
	return fmt.Sprintf("%s-%06x", strings.Trim(words, "-"), rand.N(1<<24))
}

// Main runs the tests, ends what they shared, and then fails when a goroutine was left behind.
func Main(m *testing.M) {
	// One line per container and state would bury the tests' own output.
	log.SetDefault(log.NewNoopLogger())
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared containers:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func stopShared() error {
	var errs []error
	if postgres := shared.postgres.value; postgres != nil {
		errs = append(errs, postgres.stop())
	}
	if registry := shared.registry.value; registry != nil {
		errs = append(errs, registry.stop())
	}
	if kafka := shared.kafka.value; kafka != nil {
		errs = append(errs, kafka.stop())
	}
	return errors.Join(errs...)
}
