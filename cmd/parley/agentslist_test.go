package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func TestAgentsListAndShow(t *testing.T) {
	s := server(t)
	if out := runIn(t, s, "agents", "list").ok(t).stdout; out != "no agent is known\n" {
		t.Errorf("before the first agent: %q", out)
	}
	reg, err := schemas.NewRegistry(s.RegistryURL(), schemas.WithAutoRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	platform, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: s.Brokers(), Schemas: reg, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	echo := agents.New("echo", agents.Config{Version: "v7\x1b[31m", Instance: "slot-0"})
	agents.On(echo, func(context.Context, *agents.Message[schemas.ErrorReply]) error { return nil })
	w, err := platform.Worker(echo)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	<-w.Ready()
	sender, err := platform.Sender("tester")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	crashed, err := platform.Codec().Encode(ctx, &schemas.AgentInstance{Agent: "lost", Started: time.Now().Add(-time.Hour), Until: time.Now().Add(-30 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string][]byte{schemas.InstanceKey("lost", "x"): crashed, schemas.InstanceKey("bad", "y"): []byte("what")} {
		if err := errors.Join(sender.Forward(ctx, &streaming.Record{Topic: "parley.agents", Key: []byte(key), Value: value})...); err != nil {
			t.Fatal(err)
		}
	}
	var list struct{ Agents []agents.Known }
	listed := func(args ...string) {
		t.Helper()
		r := runIn(t, s, append([]string{"agents", "list", "--json"}, args...)...).ok(t)
		if !strings.Contains(r.stderr, "the entry instance/bad/y cannot be read and is passed over: decode") {
			t.Errorf("stderr %q", r.stderr)
		}
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		listed()
		if len(list.Agents) == 2 && len(list.Agents[0].Instances) == 1 && len(list.Agents[0].Contracts) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", list)
		}
	}
	if e, l := list.Agents[0], list.Agents[1]; e.Agent != "echo" || !e.Live || e.Instances[0].Consumes[0].Type != "agent.error" || l.Agent != "lost" || l.Live {
		t.Errorf("%+v", list)
	}
	out := runIn(t, s, "agents", "list").ok(t).stdout
	if !strings.Contains(out, `echo   live   1 of 1     v7\u001b[31m  0          0        20`) || !strings.Contains(out, "lost   gone   0 of 1     -") {
		t.Errorf("list says\n%s", out)
	}
	out = runIn(t, s, "agents", "show", "echo").ok(t).stdout
	for _, want := range []string{"agent echo: live\n", "slot-0", "parley.inbox.echo", "contract of group echo\n  reads agent.error (inbox:echo)\n  sends not declared\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("show says %s\nwithout %q", out, want)
		}
	}
	for args, want := range map[string]string{"nobody": "nothing is known of an agent nobody", "No Name": "may hold a to z"} {
		if r := runIn(t, s, "agents", "show", args); r.code == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	listed("--prune")
	if len(list.Agents) != 1 {
		t.Errorf("pruned: %+v", list)
	}
	listed()
	if len(list.Agents) != 1 {
		t.Errorf("after the prune: %+v", list)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	listed()
	if list.Agents[0].Live || len(list.Agents[0].Instances) != 0 {
		t.Errorf("after its end: %+v", list)
	}
}
