package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/audit"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

var (
	lettersFlag = flag.Int("letters", 3000, "dead letters of TestRedriveKilled")
	killsFlag   = flag.Int("kills", 8, "times that TestRedriveKilled kills the redrive")
)

const letterKeys = 100

// outside is what messages have their effect on.
type outside struct {
	mu      sync.Mutex
	accepts bool
	effects map[string]int
	order   map[string][]string // message IDs, by key
}

// handle takes a message. Once it accepts, one in thirteen fails on its first
// attempt, so that those behind it have to wait.
func (o *outside) handle(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.accepts {
		return agents.Permanent(errors.New("closed"))
	}
	if n, _ := strconv.Atoi(m.ID()); n%13 == 0 && m.Attempt == 1 {
		return errors.New("busy")
	}
	o.effects[m.ID()]++
	o.order[m.Key] = append(o.order[m.Key], m.ID())
	return nil
}

// TestRedriveKilled kills `parley dlq redrive` with SIGKILL at random moments,
// beside a worker and without one: nothing is lost, no effect is repeated and
// each key keeps its order. The full size is -letters 10000 -kills 20.
func TestRedriveKilled(t *testing.T) {
	r := seeded(t)
	letters, kills := *lettersFlag, *killsFlag
	s, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: s.Brokers(), Registry: s.RegistryURL(), Register: true, Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{effects: map[string]int{}, order: map[string][]string{}}
	bury(t, p, s, o, letters)

	// A start is killed within half a second: at this rate none comes to the end.
	args := []string{"dlq", "redrive", "--agent", "taker", "--all", "--json", "--brokers", s.Brokers()[0], "--registry", s.RegistryURL()}
	slow := append(slices.Clone(args), "--rate", strconv.Itoa(letters*2/kills))
	killed := map[string]int{}
	stop := func() {}
	for round := range kills {
		switch round % 4 {
		case 0:
			stop = work(t, p, o)
		case 2:
			stop()
		}
		run := watch(t, slow...)
		run.await([]string{"reading", "redriving"}[round%2])
		time.Sleep(time.Duration(r.Int64N(int64(500 * time.Millisecond))))
		killed[run.kill()]++
	}
	t.Logf("killed while %v", killed)
	if killed["redriving"] == 0 || killed[tooLate] > 0 {
		t.Errorf("killed while %v", killed)
	}

	last := parley(t, args...)
	var report struct {
		Resumed  bool
		Redriven map[string]int
		Recorded int
	}
	if err := json.Unmarshal([]byte(last.stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, last.stderr)
	}
	t.Logf("the last start: %s", strings.TrimSpace(last.stdout))
	if !report.Resumed || report.Redriven["permanent"] != letters {
		t.Errorf("redriven %v of %d", report.Redriven, letters)
	}
	stop()
	work(t, p, o)
	awaitAudit(t, p, s, func(r *audit.Report) bool { return r.Done == int64(letters) })

	o.mu.Lock()
	defer o.mu.Unlock()
	for id, n := range o.effects {
		if n != 1 {
			t.Errorf("%s had its effect %d times", id, n)
		}
	}
	for key, ids := range o.order {
		if !slices.IsSorted(ids) {
			t.Errorf("key %s is not in order: %v", key, ids)
		}
	}
	if len(o.effects) != letters {
		t.Errorf("%d of %d messages had their effect", len(o.effects), letters)
	}
}

// bury makes that many dead letters.
func bury(t *testing.T, p *agents.Platform, s *embedded.Server, o *outside, letters int) {
	t.Helper()
	stop := work(t, p, o)
	sender, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	var drafts []agents.Draft
	for i := range letters {
		drafts = append(drafts, sender.ToAgent("taker", &schemas.ErrorReply{Reason: "r"},
			agents.ID(fmt.Sprintf("%06d", i)), agents.Key(strconv.Itoa(i%letterKeys))))
	}
	if err := sender.Send(t.Context(), drafts...); err != nil {
		t.Fatal(err)
	}
	awaitAudit(t, p, s, func(r *audit.Report) bool { return r.Dead == int64(letters) })
	stop()
	o.mu.Lock()
	o.accepts = true
	o.mu.Unlock()
}

// work runs the agent until the test ends or stop is called.
func work(t *testing.T, p *agents.Platform, o *outside) (stop func()) {
	t.Helper()
	a := agents.New("taker", agents.Config{Retry: retry.Policy{Tiers: []time.Duration{50 * time.Millisecond}, Attempts: 3}})
	agents.On(a, o.handle)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, a) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// awaitAudit waits until the audit, exact each time, is as it should be.
func awaitAudit(t *testing.T, p *agents.Platform, s *embedded.Server, ok func(*audit.Report) bool) {
	t.Helper()
	log, err := kafka.NewLog(kafka.Config{Brokers: s.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(200 * time.Millisecond) { // polls the topics
		a, err := audit.New(t.Context(), log, p.Codec(), audit.Group{Agent: "taker"})
		if err != nil && time.Now().Before(deadline) {
			continue // the agent is about to make its topics
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Read(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Conservation(); got != audit.Exact {
			t.Fatalf("conservation: %s", got)
		}
		if ok(r) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d done, %d retrying, %d dead of %d", r.Done, r.Retrying, r.Dead, r.Accepted)
		}
	}
}
