package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestBrokerServesUntilItIsInterrupted(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := start(ctx, nil, "broker", "--data", dir, "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--json")
	var addresses brokerAddresses
	if err := json.Unmarshal([]byte(lines.next(t)), &addresses); err != nil {
		t.Fatal(err)
	}
	if addresses.Data != dir || !strings.HasPrefix(addresses.Registry, "http://127.0.0.1:") {
		t.Errorf("addresses: %+v", addresses)
	}
	runIn(t, nil, "topics", "apply", "--agent", "echo", "--partitions", "1", "--brokers", addresses.Brokers[0]).ok(t)

	runIn(t, nil, "broker", "--data", dir, "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0").
		failed(t, exitFailure, fmt.Sprintf("folder %s is in use by this process", dir))
	// An address in use leaves no folder behind.
	other := filepath.Join(t.TempDir(), "other")
	runIn(t, nil, "broker", "--data", other, "--listen", addresses.Brokers[0], "--registry-listen", "127.0.0.1:0").
		failed(t, exitFailure, "cannot listen on "+addresses.Brokers[0])
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Errorf("the folder of a broker that did not start: %v", err)
	}

	cancel()
	if r := <-lines.done; r.code != exitOK || r.stderr != "ready; interrupt to end\n" {
		t.Errorf("interrupted: %+v", r)
	}
	// The folder is free again, and has what was there.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	lines = start(ctx, nil, "broker", "--data", dir, "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--json")
	if err := json.Unmarshal([]byte(lines.next(t)), &addresses); err != nil {
		t.Fatal(err)
	}
	if got := runIn(t, nil, "topics", "list", "--brokers", addresses.Brokers[0]).ok(t).stdout; !strings.Contains(got, "parley.inbox.echo ") {
		t.Errorf("after a restart:\n%s", got)
	}
	cancel()
	<-lines.done
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestBadCommandLines(t *testing.T) {
	s := server(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, c := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, `unknown command "bogus" for "parley"`, "bogus"},
		{exitUsage, `unknown command "bogus" for "parley topics"`, "topics bogus"},
		{exitUsage, `unknown command "bogus" for "parley dlq"`, "dlq bogus"},
		{exitUsage, "unknown flag: --bogus", "tail x --bogus"},
		{exitUsage, "name one of TOPIC, --agent and --stream", "tail"},
		{exitUsage, "name one of TOPIC, --agent and --stream", "tail x --agent y"},
		{exitUsage, "--from end shows what is new, so it needs --follow", "tail x --from end"},
		{exitUsage, `--from: "middle" is neither start nor end`, "tail x --from middle"},
		{exitUsage, "-n: -1 is not a number of records", "tail x -n -1"},
		{exitUsage, `--brokers: "nonsense" is not host:port`, "topics list --brokers nonsense"},
		{exitUsage, "--namespace", "topics list --namespace Bad.Name"},
		{exitUsage, "--timeout: 0s is not a time to wait", "topics list --timeout 0"},
		{exitUsage, "--registry: the schema registry's URL has to be", "tail x --registry nonsense --brokers " + s.Brokers()[0]},
		{exitUsage, "--agent is needed", "topics plan"},
		{exitUsage, "--tiers: retry tier 1s does not follow 2s", "topics plan --agent a --tiers 2s,1s"},
		{exitUsage, "--partitions: 0 is less than 1", "topics apply --agent a --partitions 0"},
		{exitUsage, "--replication: 0 is neither", "topics apply --agent a --replication 0"},
		{exitUsage, `--reason: "bogus" is none of decode, schema,`, "dlq list --reason bogus"},
		{exitUsage, `"x/y" is not TOPIC/PARTITION/OFFSET`, "dlq show x/y"},
		{exitUsage, "accepts 1 arg(s), received 0", "dlq show"},
		{exitFailure, "no Kafka broker answers at 127.0.0.1:1: ", "topics list --brokers 127.0.0.1:1"},
		{exitFailure, "no Kafka broker answers at 127.0.0.1:1: ", "tail x --brokers 127.0.0.1:1"},
		{exitFailure, "no Kafka broker answers at 127.0.0.1:1: ", "dlq list --brokers 127.0.0.1:1"},
		{exitFailure, "no answer within 100ms", "topics list --timeout 100ms --brokers " + silent.Addr().String()},
		{exitFailure, "there is no topic parley.inbox.nobody; `parley topics list` shows what there is", "tail --agent nobody --brokers " + s.Brokers()[0]},
		{exitFailure, "there is no dead-letter topic of agent nobody", "dlq list --agent nobody --brokers " + s.Brokers()[0]},
		{exitFailure, "there is no dead-letter topic of topic nowhere", "dlq list --topic nowhere --brokers " + s.Brokers()[0]},
		{exitFailure, "must name the host that clients connect to", "broker --data= --listen 0.0.0.0:9092"},
		{exitFailure, `broker address "nonsense" is not host:port`, "broker --data= --listen nonsense"},
	} {
		runIn(t, nil, strings.Fields(c.args)...).failed(t, c.code, c.want)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	v := readVersion(&debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
	})
	if v.Version != "v1.2.3" || v.Commit != "abc" || !v.Modified || v.WireContract != "1" || !strings.HasPrefix(v.Go, "go1") {
		t.Errorf("%+v", v)
	}
	if v := readVersion(nil); v.Version != "development" {
		t.Errorf("%+v", v)
	}
	if out := runIn(t, nil, "version").ok(t).stdout; !strings.HasPrefix(out, "parley development (go1") || !strings.HasSuffix(out, "wire contract 1\n") {
		t.Errorf("%q", out)
	}
	if err := json.Unmarshal([]byte(runIn(t, nil, "version", "--json").ok(t).stdout), &v); err != nil || v.WireContract != "1" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestHelp wants for each command a text, an example and no wrong width.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"broker", "topics plan", "topics apply", "topics list", "send", "tail", "dlq list", "dlq show", "state list", "state get", "state watch", "version"} {
		out := runIn(t, nil, append(strings.Fields(c), "--help")...).ok(t).stdout
		if !strings.Contains(out, "Examples:\n  parley "+c) || !strings.Contains(out, "--json") {
			t.Errorf("%s --help:\n%s", c, out)
		}
	}
	if out := runIn(t, nil, "help", "configuration").ok(t).stdout; !strings.Contains(out, "The first that has it wins") {
		t.Errorf("help configuration: %s", out)
	}
}
