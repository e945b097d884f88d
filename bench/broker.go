package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// The images of a broker in the order they are tried: what the user names, what
// make kafka-image has built, what can be pulled.
const (
	imageVariable = "PARLEY_KAFKA_IMAGE"
	localImage    = "parley/kafka:4.4.0"
	publicImage   = "apache/kafka:4.4.0"
)

// broker is Kafka in a container of this run.
type broker struct {
	container string
	address   string
	pid       string // of its process on this machine, once known
}

func startBroker(ctx context.Context, progress io.Writer) (_ *broker, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute) // a first run may pull the image
	defer cancel()
	image := os.Getenv(imageVariable)
	if image == "" {
		image = publicImage
		if _, err := docker(ctx, "image", "inspect", localImage); err == nil {
			image = localImage
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(progress, "starting %s\n", image)
	b := &broker{address: "127.0.0.1:" + port}
	arguments := []string{
		"run", "--rm", "--detach", "--label", "parley.integration=true", // so that make clean finds it
		"--publish", "127.0.0.1:" + port + ":9092",
	}
	for name, value := range map[string]string{
		"CLUSTER_ID":                                     "cGFybGV5LWJlbmNoLTEyMw",
		"KAFKA_NODE_ID":                                  "1",
		"KAFKA_PROCESS_ROLES":                            "broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:9093",
		"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
		"KAFKA_LISTENERS":                                "PLAINTEXT://:9092,INTERNAL://:19092,CONTROLLER://:9093",
		"KAFKA_ADVERTISED_LISTENERS":                     "PLAINTEXT://" + b.address + ",INTERNAL://localhost:19092",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_INTER_BROKER_LISTENER_NAME":               "INTERNAL", // the broker asks itself about transactions
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
		"KAFKA_HEAP_OPTS":                                "-Xms1g -Xmx1g",
	} {
		arguments = append(arguments, "--env", name+"="+value)
	}
	if b.container, err = docker(ctx, append(arguments, image)...); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	for {
		try, done := context.WithTimeout(ctx, 2*time.Second)
		err := kafka.Ping(try, kafka.Config{Brokers: []string{b.address}})
		done()
		if err == nil {
			return b, nil
		}
		select {
		case <-ctx.Done():
			logs, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "20", b.container)
			return nil, fmt.Errorf("kafka does not start: %w\n%s", err, logs)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stop removes the container, also after an interrupt.
func (b *broker) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := docker(ctx, "rm", "--force", "--volumes", b.container); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func docker(ctx context.Context, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", arguments...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s (make docker installs an engine; -brokers takes any Kafka)", arguments[0], err, strings.TrimSpace(problem.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func freePort() (_ string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}
