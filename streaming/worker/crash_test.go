package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

// crashing names the environment of a process of TestAHandlerThatKillsItsProcess:
// brokers, registry, mode and the file that its handlers write to.
const crashing = "PARLEY_TEST_CRASHING"

// crashingProcess is a worker whose handler kills it over the message "poison".
// Over "slow" it takes a while.
func crashingProcess(args string) error {
	arg := strings.Split(args, " ")
	p, err := agents.Connect(context.Background(), agents.PlatformConfig{
		Brokers: arg[:1], Registry: arg[1], Register: true, Partitions: 3, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	log, err := os.OpenFile(arg[3], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	a := agents.New("taker", agents.Config{
		Retry: quick, ExactlyOnce: arg[2] == "once", Instance: "slot", SessionTimeout: 6 * time.Second, Parallel: 4,
	})
	agents.On(a, func(_ context.Context, m *agents.Message[schemas.ErrorReply]) error {
		if _, err := fmt.Fprintln(log, m.ID()); err != nil {
			return err
		}
		switch m.Payload.Reason {
		case "poison":
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "slow":
			time.Sleep(300 * time.Millisecond)
		}
		return nil
	})
	return p.Run(context.Background(), a)
}

// A handler that kills its process for one message: that one ends dead as crash
// after its third start at the latest that is known of, all others are done, and
// none of them is taken for it.
func TestAHandlerThatKillsItsProcess(t *testing.T) {
	inEachMode(t, testAHandlerThatKillsItsProcess)
}

func testAHandlerThatKillsItsProcess(t *testing.T, exactlyOnce bool) {
	t.Parallel() // it waits for sessions to end
	srv, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close(context.Background()) })
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{srv.Brokers()[0], srv.RegistryURL(), "least", log}
	if exactlyOnce {
		args[2] = "once"
	}
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: srv.Brokers(), Registry: srv.RegistryURL(), Register: true, Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Worker(agents.New("taker", agents.Config{Retry: quick})) // creates the topics
	if err != nil {
		t.Fatal(err)
	}
	startWorker(t, w)()
	s, err := p.Sender("giver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var drafts []agents.Draft
	const sent = 60
	for i := range sent {
		id, reason := fmt.Sprint(i), ""
		switch {
		case i == 17:
			id, reason = "poison", "poison"
		case i%10 == 3:
			reason = "slow" // beside the poison, in its partition and in others
		}
		drafts = append(drafts, s.ToAgent("taker", &schemas.ErrorReply{Reason: reason}, agents.ID(id), agents.Key(id)))
	}
	if err := s.Send(t.Context(), drafts...); err != nil {
		t.Fatal(err)
	}

	c := &streamtest.Cluster{Brokers: srv.Brokers()}
	in := streaming.Namespace("parley").Inbox("taker")
	dead, ledger := streaming.DeadLetterTopic(in, "taker"), streaming.LedgerTopic(in, "taker")
	marks := func() (done int, begun map[streaming.MessageID]int) {
		begun = make(map[streaming.MessageID]int)
		for _, rec := range c.ReadAll(t, ledger) {
			some, err := schemas.DecodeMarks(t.Context(), p.Codec(), rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range some {
				switch m.Kind {
				case streaming.MarkDone:
					done++
				case streaming.MarkBegun:
					begun[m.ID]++
				}
			}
		}
		return done, begun
	}
	starts := 0
	deadline := time.Now().Add(time.Minute)
	for finished := false; !finished; starts++ {
		if starts > 8 {
			t.Fatal("the poison has killed eight processes")
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not come to an end")
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashing+"="+strings.Join(args, " "))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		for alive := true; alive && !finished && time.Now().Before(deadline); {
			select {
			case <-ended:
				alive = false
			case <-time.After(300 * time.Millisecond):
				done, _ := marks()
				finished = done == sent-1 && len(c.ReadAll(t, dead)) > 0
			}
		}
		_ = cmd.Process.Kill()
		<-ended
	}

	letters := c.ReadAll(t, dead)
	if len(letters) != 1 || header(letters[0], "ce_id") != "poison" || header(letters[0], "parley-reason") != "crash" {
		t.Fatalf("%d dead letters, the first is %s of %s", len(letters), header(letters[0], "ce_id"), header(letters[0], "parley-reason"))
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, id := range strings.Fields(string(text)) {
		ran[id]++
	}
	done, begun := marks()
	poison := streaming.HashID("giver", "poison")
	if done != sent-1 || len(ran) != sent || begun[poison] != 2 {
		t.Errorf("%d done, %d handled, the poison begun %d times", done, len(ran), begun[poison])
	}
	t.Logf("%d processes; the poison ran %d times; begun %v", starts, ran["poison"], slices.Sorted(maps.Values(begun)))
}
