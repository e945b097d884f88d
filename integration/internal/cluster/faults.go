//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// Faults of brokers, which are counted from 1. What a broker has stored stays.

// shutdownTimeout is what a broker gets to hand its partitions over.
const shutdownTimeout = 30 * time.Second

// Brokers is how many there are.
func (k *Kafka) Brokers() int { return len(k.nodes) }

// Stop shuts a broker down cleanly.
func (k *Kafka) Stop(ctx context.Context, broker int) error {
	timeout := shutdownTimeout
	return k.nodes[broker-1].container.Stop(ctx, &timeout)
}

// Kill kills a broker with SIGKILL.
func (k *Kafka) Kill(ctx context.Context, broker int) error {
	c := k.nodes[broker-1].container
	if err := engine(func(e client.APIClient) error {
		_, err := e.ContainerKill(ctx, c.GetContainerID(), client.ContainerKillOptions{})
		return err
	}); err != nil {
		return err
	}
	// The engine must have seen the end, or it finds nothing to start.
	for {
		state, err := c.State(ctx)
		if err != nil || !state.Running {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Start starts a broker that was stopped or killed, and waits until it serves.
func (k *Kafka) Start(ctx context.Context, broker int) error {
	return k.nodes[broker-1].container.Start(ctx)
}

// Isolate cuts a broker off from the others. Clients still reach it.
func (k *Kafka) Isolate(ctx context.Context, broker int) error {
	if k.access == nil {
		return errors.New("a single broker cannot be isolated")
	}
	return engine(func(e client.APIClient) error {
		_, err := e.NetworkDisconnect(ctx, k.network.ID, client.NetworkDisconnectOptions{
			Container: k.nodes[broker-1].container.GetContainerID(),
		})
		return err
	})
}

// Rejoin ends what Isolate did.
func (k *Kafka) Rejoin(ctx context.Context, broker int) error {
	n := k.nodes[broker-1]
	return engine(func(e client.APIClient) error {
		_, err := e.NetworkConnect(ctx, k.network.ID, client.NetworkConnectOptions{
			Container:      n.container.GetContainerID(),
			EndpointConfig: &network.EndpointSettings{Aliases: []string{n.name}},
		})
		return err
	})
}

func engine(do func(client.APIClient) error) (err error) {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	defer func() { err = errors.Join(err, provider.Close()) }()
	return do(provider.Client())
}
