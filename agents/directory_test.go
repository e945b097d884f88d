package agents_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// taker is an agent that takes orders (agent.control).
func taker(name string, cfg agents.Config, took func(*agents.Message[schemas.AgentControl]) error) *agents.Agent {
	a := agents.New(name, cfg)
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.AgentControl]) error { return took(m) })
	return a
}

func nothing(*agents.Message[schemas.AgentControl]) error { return nil }

func (s *staffed) directory(t *testing.T) *agents.DirectoryView {
	t.Helper()
	d, err := agents.Directory(t.Context(), s.Platform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// capable waits until these agents are.
func (s *staffed) capable(t *testing.T, d *agents.DirectoryView, want ...string) {
	t.Helper()
	s.await(t, fmt.Sprint("capable are ", want), func() bool {
		got, err := d.Capable(t.Context(), "agent.control")
		return err == nil && slices.Equal(got, want)
	})
}

const shortLease = 600 * time.Millisecond

func TestDirectory(t *testing.T) {
	s := newStaffed(t)
	if _, err := agents.Directory(t.Context(), s.Platform); !errors.Is(err, streaming.ErrUnknownTopic) {
		t.Errorf("before the first agent: %v", err)
	}
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	one := taker("one", agents.Config{Lease: shortLease, Version: "v1.2.3", Streams: []string{"talk"}, Instance: "one-0"}, func(*agents.Message[schemas.AgentControl]) error {
		<-hold
		return nil
	})
	agents.Produces[schemas.Ack](one, agents.ToStream("acks"), agents.AsReply())
	_, stopOne := s.start(t, one)
	_, stopTwo := s.start(t, taker("two", agents.Config{Lease: shortLease, Group: "twos"}, nothing))
	quiet := agents.New("quiet", agents.Config{Lease: -1})
	agents.On(quiet, func(context.Context, *agents.Message[schemas.AgentControl]) error { return nil })
	s.start(t, quiet)
	d := s.directory(t)
	s.capable(t, d, "one", "two")
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("one", &schemas.AgentControl{}), s.sender.ToAgent("one", &schemas.AgentControl{})); err != nil {
		t.Fatal(err)
	}
	var known agents.Known
	s.await(t, "two handlers run", func() bool {
		var err error
		known, _, err = d.Show(t.Context(), "one")
		return err == nil && len(known.Instances) == 1 && known.Instances[0].Running == 2 && len(known.Instances[0].Owned) == 2
	})
	i := known.Instances[0]
	if !known.Live || i.Instance != "one-0" || i.Group != "one" || i.Version != "v1.2.3" || i.Unsettled != 2 || i.Undeclared ||
		fmt.Sprint(i.Consumes) != "[{agent.control [inbox:one stream:talk]}]" || fmt.Sprint(i.Produces) != "[{agent.ack [reply stream:acks]}]" ||
		fmt.Sprint(i.Owned) != "map[parley.events.talk:[0 1 2] parley.inbox.one:[0 1 2]]" || i.Until.Sub(i.Started) < shortLease || len(known.Contracts) != 1 {
		t.Errorf("one is %+v", known)
	}
	all, err := d.List(t.Context())
	if err != nil || len(all) != 3 || all[0].Agent != "one" || all[1].Agent != "quiet" || all[1].Live || all[2].Instances[0].Group != "twos" {
		t.Errorf("all are %+v, %v", all, err)
	}
	release()
	stopTwo() // takes itself out
	s.capable(t, d, "one")
	if known, ok, err := d.Show(t.Context(), "two"); err != nil || !ok || len(known.Instances) != 0 {
		t.Errorf("two has ended: %+v", known)
	}
	if _, ok, err := d.Show(t.Context(), "three"); ok || err != nil {
		t.Error("there is a third")
	}
	stopOne()
	s.capable(t, d)
}

// crashed puts an agent into the directory as one that renews its lease no more.
func (s *staffed) crashed(t *testing.T, name string, lease time.Duration) {
	t.Helper()
	s.write(t, schemas.InstanceKey(name, "x"), &schemas.AgentInstance{
		Agent: name, Consumes: []schemas.InstancePort{{Type: "agent.control", At: []string{"inbox:" + name, "queue:later"}}}, Started: time.Now(), Until: time.Now().Add(lease),
	})
}

// write appends to the topic of agents; a payload that is none is written as it is.
func (s *staffed) write(t *testing.T, key string, payload any) {
	t.Helper()
	value, _ := payload.([]byte)
	if m, ok := payload.(schemas.Message); ok {
		var err error
		if value, err = s.Codec().Encode(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	rec := streaming.Record{Topic: "parley.agents", Key: []byte(key), Value: value}
	if err := errors.Join(s.sender.Forward(t.Context(), &rec)...); err != nil {
		t.Fatal(err)
	}
}

func TestALeaseRunsOut(t *testing.T) {
	s := newStaffed(t)
	s.start(t, taker("one", agents.Config{Lease: shortLease}, nothing))
	d := s.directory(t)
	s.crashed(t, "gone", 300*time.Millisecond)
	s.capable(t, d, "gone", "one")
	s.capable(t, d, "one")
	gone, ok, err := d.Show(t.Context(), "gone")
	if err != nil || !ok || gone.Live || gone.Instances[0].Live {
		t.Fatalf("%+v, %v", gone, err)
	}
	if err := s.sender.Prune(t.Context(), gone.Instances...); err != nil {
		t.Fatal(err)
	}
	s.await(t, "it is pruned", func() bool {
		_, ok, err = d.Show(t.Context(), "gone")
		return !ok && err == nil
	})
}

func TestWhatCannotBeReadIsPassedOver(t *testing.T) {
	s := newStaffed(t)
	s.start(t, taker("one", agents.Config{Lease: shortLease}, nothing))
	d := s.directory(t)
	s.write(t, "instance/a/b", []byte("what"))
	s.write(t, "instance/a/c", &schemas.AgentInstance{Agent: "A B"})
	s.write(t, "instance/a/d", &schemas.Ack{})
	s.write(t, "contract/e", &schemas.AgentContract{Agent: "e", Consumes: []schemas.ContractPort{{Type: "x"}}})
	s.write(t, "instance/nothing", []byte("another's"))
	s.write(t, "instance/a/b/c", &schemas.AgentInstance{Agent: "slashed"})
	s.capable(t, d, "one")
	var bad map[string]error
	s.await(t, "four are unreadable", func() bool {
		var err error
		bad, err = d.Unreadable(t.Context())
		return err == nil && len(bad) == 4
	})
	for key, want := range map[string]string{"instance/a/b": "decode", "instance/a/c": `may hold a to z`, "instance/a/d": "schema", "contract/e": "at no place"} {
		if bad[key] == nil || !strings.Contains(bad[key].Error(), want) {
			t.Errorf("%s: %v, want %s", key, bad[key], want)
		}
	}
	if n := s.counted(t, "parley_directory_skipped_total"); n != 4 {
		t.Errorf("%v are counted", n)
	}
	s.await(t, "an instance's name may have a slash", func() bool {
		k, ok, err := d.Show(t.Context(), "slashed")
		return err == nil && ok && k.Instances[0].Instance == "b/c"
	})
	s.write(t, "instance/a/b", nil)
	s.await(t, "three are unreadable", func() bool {
		bad, err := d.Unreadable(t.Context())
		return err == nil && len(bad) == 3
	})
}

func TestPickIsStable(t *testing.T) {
	s := newStaffed(t)
	s.start(t, taker("first", agents.Config{}, nothing))
	d := s.directory(t)
	names := []string{"first"}
	for i := range 4 {
		names = append(names, fmt.Sprint("taker-", i))
		s.crashed(t, names[i+1], time.Hour)
	}
	s.capable(t, d, names...)
	won := make(map[string][]string)
	for i := range 200 {
		key := fmt.Sprint("key-", i)
		agent, err := d.Pick(t.Context(), "agent.control", key)
		again, _ := d.Pick(t.Context(), "agent.control", key)
		if err != nil || agent != again {
			t.Fatal(agent, again, err)
		}
		won[agent] = append(won[agent], key)
	}
	for _, name := range names {
		if n := len(won[name]); n < 15 {
			t.Errorf("%s has %d keys of 200", name, n)
		}
	}
	s.write(t, schemas.InstanceKey("taker-2", "x"), nil)
	names = slices.Delete(names, 3, 4)
	s.capable(t, d, names...)
	for _, agent := range slices.Sorted(maps.Keys(won)) {
		for _, key := range won[agent] {
			if now, err := d.Pick(t.Context(), "agent.control", key); err != nil || agent != "taker-2" && now != agent {
				t.Fatalf("%s has moved from %s to %s, %v", key, agent, now, err)
			}
		}
	}
	var nobody *agents.NoAgentError
	if _, err := d.Pick(t.Context(), "survey.order", "k"); !errors.As(err, &nobody) || nobody.Type != "survey.order" {
		t.Errorf("nobody: %v", err)
	}
}

func TestSendByCapability(t *testing.T) {
	s := newStaffed(t)
	var mu sync.Mutex
	took := make(map[string][]string) // by message ID
	handle := func(m *agents.Message[schemas.AgentControl]) error {
		mu.Lock()
		defer mu.Unlock()
		took[m.ID()] = append(took[m.ID()], m.Envelope.Recipient)
		return nil
	}
	first := make(chan struct{})
	changed := make(chan struct{})
	asker := agents.New("asker", agents.Config{Retry: soon})
	agents.Produces[schemas.AgentControl](asker, agents.ToStream("elsewhere"))
	agents.On(asker, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		for range 2 {
			if err := m.SendTo(agents.Capable(m.Payload.Reason), &schemas.AgentControl{}, agents.Key(m.Payload.Message)); err != nil {
				return err
			}
		}
		if m.Attempt == 1 {
			close(first)
			<-changed
			return errors.New("and then it fails")
		}
		return nil
	})
	_, stopOld := s.start(t, taker("old", agents.Config{Lease: shortLease, Instance: "old"}, handle))
	d := s.directory(t)
	s.capable(t, d, "old")
	s.start(t, asker)
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("asker", &schemas.ErrorReply{Reason: "agent.control", Message: "k"})); err != nil {
		t.Fatal(err)
	}
	<-first
	stopOld() // before the first attempt has failed; a new one takes its place
	s.start(t, taker("new", agents.Config{Lease: shortLease}, handle))
	s.capable(t, d, "new")
	close(changed)
	s.await(t, "the message waits for who was chosen", func() bool { return len(s.records(t, "parley.inbox.old")) == 2 })
	if recs := s.records(t, "parley.inbox.new"); len(recs) != 0 {
		t.Errorf("%d have gone to the new one", len(recs))
	}
	s.start(t, taker("old", agents.Config{Lease: shortLease}, handle))
	s.await(t, "it is back and has handled both", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(took) == 2
	})
	// Nobody is there.
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("asker", &schemas.ErrorReply{Reason: "survey.order", Message: "k"})); err != nil {
		t.Fatal(err)
	}
	_, hop, _, _ := schemas.SplitHop(s.dead(t, "asker", 1)[0].Headers)
	if hop.Reason != streaming.ReasonNoRoute || hop.Attempt != 1 || !strings.Contains(hop.Error, "no agent takes survey.order") {
		t.Errorf("nobody: %+v", hop)
	}
}

// Who asks can find an agent first; and what becomes of requests to who is not there is
// typed and counted.
func TestRequestsToTheGone(t *testing.T) {
	s := newStaffed(t)
	_, stop := s.start(t, taker("echo", agents.Config{Lease: shortLease}, func(m *agents.Message[schemas.AgentControl]) error {
		if m.Payload.Reason == "no" {
			return agents.Permanent(errors.New("no"))
		}
		return m.Reply(&schemas.Ack{Mode: "handled"})
	}))
	d := s.directory(t)
	s.capable(t, d, "echo")
	r, err := s.Requester(t.Context(), "front")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	agent, err := d.Pick(t.Context(), "agent.control", "k")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := agents.Request[schemas.Ack](t.Context(), r, agent, schemas.AgentControl{}, agents.Key("k")); err != nil || got.Mode != "handled" {
		t.Errorf("%+v, %v", got, err)
	}
	var refused *agents.RequestError
	if _, err := agents.Request[schemas.Ack](t.Context(), r, agent, schemas.AgentControl{Reason: "no"}); !errors.As(err, &refused) {
		t.Errorf("refused: %v", err)
	}
	stop()
	var nobody *agents.NoAgentError
	s.await(t, "nobody takes it", func() bool {
		_, err := d.Pick(t.Context(), "agent.control", "k")
		return errors.As(err, &nobody)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var none *agents.NoReplyError
	if _, err := agents.Request[schemas.Ack](ctx, r, agent, schemas.AgentControl{}); !errors.As(err, &none) || none.Agent != "echo" {
		t.Errorf("gone: %v", err)
	}
	if _, err := agents.Request[schemas.Ack](t.Context(), r, "never", schemas.AgentControl{}); !errors.Is(err, streaming.ErrUnknownTopic) {
		t.Errorf("never there: %v", err)
	}
	for _, why := range []string{"no_agent", "no_reply", "refused"} {
		if n := s.counted(t, "parley_requests_failed_total", "agent=front", "why="+why); n != 1 {
			t.Errorf("%v requests have failed as %s", n, why)
		}
	}
}

// refusing is a registry that does not know what instances say.
type refusing struct{ *schemas.MemoryRegistry }

func (r refusing) ID(ctx context.Context, schema avro.Schema) (int, error) {
	if schemas.MessageType(schema) == schemas.TypeAgentInstance {
		return 0, &schemas.SchemaError{Subject: "parley.AgentInstance", Problem: "is not registered"}
	}
	return r.MemoryRegistry.ID(ctx, schema)
}

func TestWhoCannotAnnounceWorksAllTheSame(t *testing.T) {
	s := newStaffed(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: s.Brokers, Schemas: refusing{s.Schemas}, Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	other := &staffed{p, s.Cluster, s.registry, s.sender}
	done := make(chan struct{})
	other.start(t, taker("mute", agents.Config{Lease: 30 * time.Millisecond}, func(*agents.Message[schemas.AgentControl]) error {
		close(done)
		return nil
	}))
	if err := s.sender.Send(t.Context(), s.sender.ToAgent("mute", &schemas.AgentControl{})); err != nil {
		t.Fatal(err)
	}
	<-done
	d := s.directory(t)
	if known, _, err := d.Show(t.Context(), "mute"); err != nil || known.Live {
		t.Errorf("%+v, %v", known, err)
	}
}
