//go:build integration

// Package cluster runs real Kafka and a real schema registry in containers, for the integration tests.
//
// Most tests share one of each for the whole test binary: SharedKafka and SharedRegistry. A test that breaks its
// broker starts its own with StartKafka. TestMain calls Main, which ends what was shared.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	startTimeout = 3 * time.Minute // a first run may pull images
	stopTimeout  = 2 * time.Second // the default of 10 s would be paid in full by each container
	clusterID    = "cGFybGV5LWludGVncmF0aQ"

	hostPort       = "9092/tcp"
	internalPort   = 19092
	controllerPort = 9093

	// The directory is the broker's own in the local and the public image, so that it can write there.
	startScript = "/opt/kafka/config/parley-start.sh"
)

// label marks every container of these tests, so that make clean finds what a killed run left.
var label = map[string]string{"parley.integration": "true"}

// KafkaOptions change the broker a test starts. The zero value is a broker fit for most tests: topics are created
// explicitly, and groups rebalance without an initial delay.
type KafkaOptions struct {
	// Env is added to the broker's environment: KAFKA_LOG_RETENTION_MS sets log.retention.ms, and so on.
	Env map[string]string
	// Brokers is how many there are, each a controller too; default 1. Topics have up to three replicas.
	Brokers int
	// Front stands between the clients and the brokers; default: nothing does.
	Front Front
}

// Front is where clients find the brokers: each advertises the address that Listen gives it.
type Front interface {
	Listen(broker int) (address string, err error)
	// Target says where a broker is reached from here, anew after each start.
	Target(broker int, address string)
}

// Kafka is a running cluster.
type Kafka struct {
	network *testcontainers.DockerNetwork // brokers talk on it to each other
	access  *testcontainers.DockerNetwork // publishes the brokers' ports where there are several, so that one cut off from the others is still reached; else nil
	nodes   []*node
}

// node is one broker, which is a controller too.
type node struct {
	id        int
	name      string // on the cluster's network
	container *testcontainers.DockerContainer
	front     Front
	address   string // as seen by the tests
	starts    int
}

// StartKafka starts a cluster for one test and ends it after the test.
func StartKafka(t testing.TB, options KafkaOptions) *Kafka {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	kafka, err := startKafka(ctx, options)
	if err != nil {
		t.Fatalf("kafka: %v", err)
	}
	t.Cleanup(func() {
		if err := kafka.stop(); err != nil {
			t.Errorf("kafka: %v", err)
		}
	})
	return kafka
}

// Bootstrap is the bootstrap address for the tests, "host:port[,host:port]".
func (k *Kafka) Bootstrap() string {
	addresses := make([]string, len(k.nodes))
	for i, n := range k.nodes {
		addresses[i] = n.address
	}
	return strings.Join(addresses, ",")
}

// InternalBootstrap is the bootstrap address for other containers on the cluster's network.
func (k *Kafka) InternalBootstrap() string {
	addresses := make([]string, len(k.nodes))
	for i, n := range k.nodes {
		addresses[i] = fmt.Sprintf("%s:%d", n.name, internalPort)
	}
	return strings.Join(addresses, ",")
}

func startKafka(ctx context.Context, options KafkaOptions) (_ *Kafka, err error) {
	image, err := kafkaImage.choose(ctx)
	if err != nil {
		return nil, err
	}
	kafka := &Kafka{}
	defer func() {
		if err != nil {
			err = errors.Join(err, kafka.stop())
		}
	}()
	var isolation []network.NetworkCustomizer
	if options.Brokers > 1 {
		if kafka.access, err = network.New(ctx, network.WithLabels(label)); err != nil {
			return nil, err
		}
		isolation = append(isolation, network.WithInternal())
	}
	if kafka.network, err = network.New(ctx, append(isolation, network.WithLabels(label))...); err != nil {
		return nil, err
	}
	brokers := max(options.Brokers, 1)
	for id := 1; id <= brokers; id++ {
		n := &node{id: id, name: nodeName(id), front: options.Front}
		if n.front != nil {
			if n.address, err = n.front.Listen(id); err != nil {
				return nil, err
			}
		}
		kafka.nodes = append(kafka.nodes, n)
	}
	// Together: a controller is up when most of them are.
	failed := make(chan error, brokers)
	for _, n := range kafka.nodes {
		go func() { failed <- n.start(ctx, image, kafka, environment(n.id, brokers, options.Env)) }()
	}
	for range kafka.nodes {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		return nil, err
	}
	return kafka, nil
}

func nodeName(id int) string { return fmt.Sprintf("kafka-%d", id) }

// environment configures node id of a cluster of so many nodes.
func environment(id, nodes int, extra map[string]string) map[string]string {
	voters := make([]string, nodes)
	for i := range voters {
		voters[i] = fmt.Sprintf("%d@%s:%d", i+1, nodeName(i+1), controllerPort)
	}
	replicas := fmt.Sprint(min(nodes, 3))
	minISR := fmt.Sprint(max(1, min(nodes, 3)-1))
	env := map[string]string{
		"CLUSTER_ID":                                             clusterID,
		"KAFKA_NODE_ID":                                          fmt.Sprint(id),
		"KAFKA_PROCESS_ROLES":                                    "broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                         strings.Join(voters, ","),
		"KAFKA_CONTROLLER_LISTENER_NAMES":                        "CONTROLLER",
		"KAFKA_LISTENERS":                                        fmt.Sprintf("PLAINTEXT://:9092,INTERNAL://:%d,CONTROLLER://:%d", internalPort, controllerPort),
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":                   "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_INTER_BROKER_LISTENER_NAME":                       "INTERNAL",
		"KAFKA_LOG_DIRS":                                         "/tmp/kafka-logs",
		"KAFKA_DEFAULT_REPLICATION_FACTOR":                       replicas,
		"KAFKA_MIN_INSYNC_REPLICAS":                              minISR,
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":                 replicas,
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR":         replicas,
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":                    minISR,
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": replicas,
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR":            minISR,
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":                 "0",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                        "false",
		"KAFKA_HEAP_OPTS":                                        "-Xms256m -Xmx1g",
	}
	maps.Copy(env, extra)
	return env
}

func (n *node) start(ctx context.Context, image string, kafka *Kafka, env map[string]string) error {
	networks := []testcontainers.ContainerCustomizer{network.WithNetwork([]string{n.name}, kafka.network)}
	if kafka.access != nil {
		networks = append([]testcontainers.ContainerCustomizer{network.WithNetwork(nil, kafka.access)}, networks...)
	}
	var err error
	n.container, err = testcontainers.Run(ctx, image, append(networks,
		testcontainers.WithLabels(label),
		testcontainers.WithEnv(env),
		testcontainers.WithExposedPorts(hostPort),
		// The port that the tests reach the broker at is known only after the start, and the broker has to
		// advertise it: so the container waits for a script that says it. Moving the script away makes a
		// restarted container wait for its next one.
		testcontainers.WithEntrypoint("/bin/sh", "-c"),
		testcontainers.WithCmd(fmt.Sprintf(
			"while [ ! -f %[1]s ]; do sleep 0.1; done; mv %[1]s %[1]s.done && exec /bin/sh %[1]s.done", startScript)),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PostStarts: []testcontainers.ContainerHook{n.advertise},
		}),
	)...)
	if err != nil {
		return fmt.Errorf("start %s from %s: %w%s", n.name, image, err, lastLines(n.container))
	}
	return nil
}

// advertise tells the started container its address and waits until the broker serves.
func (n *node) advertise(ctx context.Context, c testcontainers.Container) error {
	address, err := c.PortEndpoint(ctx, hostPort, "")
	if err != nil {
		return err
	}
	if n.front != nil {
		n.front.Target(n.id, address)
	} else {
		n.address = address
	}
	script := fmt.Sprintf("export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://%s,INTERNAL://%s:%d\nexec /etc/kafka/docker/run\n",
		n.address, n.name, internalPort)
	// Copied under another name first: the waiting shell must never see half of it.
	if err := c.CopyToContainer(ctx, []byte(script), startScript+".new", 0o755); err != nil {
		return err
	}
	if code, out, err := c.Exec(ctx, []string{"mv", startScript + ".new", startScript}); err != nil || code != 0 {
		text, _ := io.ReadAll(out)
		return fmt.Errorf("place the start script: exit code %d, %w, %s", code, err, text)
	}
	n.starts++ // the log keeps the lines of earlier starts
	return wait.ForLog("Kafka Server started").WithOccurrence(n.starts).WithStartupTimeout(startTimeout).WaitUntilReady(ctx, c)
}

func (k *Kafka) stop() error {
	// Not the test's context: that one has ended when clean-ups run.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ended := make(chan error, len(k.nodes))
	for _, n := range k.nodes {
		go func() { ended <- terminate(ctx, n.container) }()
	}
	var errs []error
	for range k.nodes {
		errs = append(errs, <-ended)
	}
	for _, n := range []*testcontainers.DockerNetwork{k.network, k.access} {
		if n != nil {
			errs = append(errs, n.Remove(ctx))
		}
	}
	return errors.Join(errs...)
}

func terminate(ctx context.Context, c *testcontainers.DockerContainer) error {
	if c == nil {
		return nil
	}
	return testcontainers.TerminateContainer(c, testcontainers.StopContext(ctx), testcontainers.StopTimeout(stopTimeout))
}

// lastLines is the end of a container's log, for the message of a failed start.
func lastLines(c *testcontainers.DockerContainer) string {
	if c == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	logs, err := c.Logs(ctx)
	if err != nil {
		return ""
	}
	defer func() { _ = logs.Close() }()
	text, _ := io.ReadAll(logs)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\n" + strings.Join(lines[max(0, len(lines)-20):], "\n")
}
