//go:build synctests

package streamtest_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
	"github.com/seed-c9b6dc07/parley/streaming/worker"
)

// bids is a board that three agents propose to. A value says which message has
// proposed it.
var bids = board.New[schemas.ErrorReply]("bids")

// auction is its keeper and two of its bidders, which propose at the messages that
// they get and publish the answers. Many messages go to the keeper itself.
type auction struct {
	exactlyOnce bool

	versions, conflicts, deadProposals int // at the end
}

func (a *auction) config(agent func() *agents.Agent) func(*streamtest.Cluster) (worker.Config, error) {
	return func(c *streamtest.Cluster) (worker.Config, error) {
		p, err := agents.Connect(context.Background(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas, Dialer: c.Dialer, Partitions: 3})
		if err != nil {
			return worker.Config{}, err
		}
		return p.WorkerConfig(agent())
	}
}

func (a *auction) agent() agents.Config {
	return agents.Config{ExactlyOnce: a.exactlyOnce, Retry: retry.Policy{Tiers: []time.Duration{time.Second, 5 * time.Second}, Attempts: 4}}
}

// bidder proposes what its messages say: "key expected".
func (a *auction) bidder(name string) func() *agents.Agent {
	return func() *agents.Agent {
		bidder := agents.New(name, a.agent())
		agents.On(bidder, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
			key, text, _ := strings.Cut(m.Payload.Reason, " ")
			expected, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return agents.Permanent(err)
			}
			if expected%5 == 4 {
				return bids.ProposeDeletion(m, key, expected)
			}
			return bids.Propose(ctx, m, key, schemas.ErrorReply{Message: m.ID()}, expected)
		})
		agents.On(bidder, func(_ context.Context, m *agents.Message[schemas.BoardAnswer]) error {
			return m.Publish("answers", &m.Payload, agents.Key(m.Envelope.CausationID))
		})
		return bidder
	}
}

// check holds the board's history and the answers against the proposals.
func (a *auction) check(topics map[string][]streaming.Record) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	made := map[string]string{} // proposal: the version that it has made
	last := map[string]int64{}
	seen := map[string]streaming.Record{} // message ID: the record
	for i := range topics["parley.state.bids"] {
		rec := topics["parley.state.bids"][i]
		whole := rec
		if rec.Value == nil {
			whole.Value = []byte{0}
		}
		env, err := schemas.DecodeEnvelope(&whole)
		if err != nil {
			say("board: a record of %s cannot be read: %v", rec.Key, err)
			continue
		}
		if first, again := seen[env.ID]; again {
			if a.exactlyOnce {
				say("board: %s %d stands there twice", rec.Key, env.Sequence)
			}
			if !bytes.Equal(first.Value, rec.Value) {
				say("board: %s %d has two values", rec.Key, env.Sequence)
			}
			continue // a run that was repeated
		}
		seen[env.ID] = rec
		key := string(rec.Key)
		if env.Sequence != last[key]+1 {
			say("board: version %d of %s follows %d", env.Sequence, key, last[key])
		}
		last[key] = env.Sequence
		if other, twice := made[env.CausationID]; twice {
			say("board: proposal %s made versions %s and %d", env.CausationID, other, env.Sequence)
		}
		made[env.CausationID] = fmt.Sprint(env.Sequence)
	}
	dead := map[string]bool{}
	for i := range topics["parley.inbox.board-bids.dlq.board-bids"] {
		if env, err := schemas.DecodeEnvelope(&topics["parley.inbox.board-bids.dlq.board-bids"][i]); err == nil {
			dead[env.ID] = true
		}
	}
	answered := map[string]map[string]bool{} // proposal: answers that came to its sender
	for _, bidder := range []string{"first", "second", "source"} {
		topic := "parley.inbox." + bidder
		for i := range topics[topic] {
			env, err := schemas.DecodeEnvelope(&topics[topic][i])
			if err != nil || env.Type != schemas.TypeBoardAnswer {
				continue
			}
			if answered[env.CausationID] == nil {
				answered[env.CausationID] = map[string]bool{}
			}
			answered[env.CausationID][string(topics[topic][i].Value)] = true
		}
	}
	for i := range topics["parley.inbox.board-bids"] {
		env, err := schemas.DecodeEnvelope(&topics["parley.inbox.board-bids"][i])
		if err != nil || env.Type != schemas.TypeBoardProposal || env.Kind != streaming.KindRequest {
			continue
		}
		switch n := len(answered[env.ID]); {
		case n == 0 && dead[env.ID]:
			a.deadProposals++
		case n == 1 && made[env.ID] == "":
			a.conflicts++
		case n != 1:
			say("board: proposal %s of %s has %d different answers", env.ID, env.Source, n)
		}
	}
	a.versions = len(seen)
	if versions := len(seen); versions < 20 {
		say("board: only %d versions", versions)
	}
	return wrong
}

func (a *auction) message(r *rand.Rand, i int) streamtest.Message {
	expected := r.Int64N(14) - 1
	if r.IntN(3) == 0 {
		expected = board.Any
	}
	key := fmt.Sprint("lot-", r.IntN(5))
	switch to := r.IntN(5); {
	case to < 2:
		return streamtest.Message{Topic: "parley.inbox.first", Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.AgentControl{Reason: fmt.Sprint(key, " ", expected)}}
	case to < 4:
		return streamtest.Message{Topic: "parley.inbox.second", Key: fmt.Sprint(r.IntN(8)), Payload: &schemas.AgentControl{Reason: fmt.Sprint(key, " ", expected)}}
	}
	return streamtest.Message{
		Key: key, Payload: &schemas.BoardProposal{Board: "bids"}, // a deletion, whatever there is
		Envelope: func(env *streaming.Envelope) { env.Kind = streaming.KindRequest },
	}
}

// TestBoardUnderFaults: each key's versions are 1, 2, 3 and so on, each proposal that was
// accepted has made one of them, and each has one answer. At least once under
// everything but what lets a frozen keeper and its successor work side by side, as
// for the state that the keeper keeps; without redrive, which gives a proposal
// another answer than its first.
func TestBoardUnderFaults(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	n := min(*seeds, 200)
	t.Logf("first seed %d; go test -tags synctests ./streaming/streamtest -run BoardUnderFaults -seeds %d -seed %d", first, n, first)
	var checked, versions, conflicts, deadProposals atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d of %d seeds checked: %d versions, %d conflicts, %d dead proposals", checked.Load(), n, versions.Load(), conflicts.Load(), deadProposals.Load())
		if checked.Load() < int64(n)/2 {
			t.Error("too few")
		}
	})
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			a := &auction{exactlyOnce: seed%2 == 1}
			faults := slices.DeleteFunc(streamtest.Faults(), func(f streamtest.Fault) bool { return f == streamtest.FaultRedrive })
			if !a.exactlyOnce {
				faults = []streamtest.Fault{
					streamtest.FaultError, streamtest.FaultTimeout, streamtest.FaultCut, streamtest.FaultSlow, streamtest.FaultLeaders,
					streamtest.FaultCoords, streamtest.FaultJoin, streamtest.FaultLeave, streamtest.FaultDuplicate, streamtest.FaultMalformed,
				}
			}
			var wrong []string
			o := streamtest.Simulate(t, seed, streamtest.Simulation{
				Agents: []streamtest.Simulated{
					{Config: a.config(func() *agents.Agent { return bids.Keeper(a.agent()) })},
					{Config: a.config(a.bidder("first"))},
					{Config: a.config(a.bidder("second"))},
				},
				Topics: []string{"parley.events.answers", "parley.inbox.source"}, Faults: faults, TraceDir: *traces, KeepTrace: *keep,
				Message: a.message,
				Check:   func(topics map[string][]streaming.Record) []string { wrong = a.check(topics); return nil },
			})
			if !a.exactlyOnce && o.Hits[weakened] > 0 {
				return // two keepers may have been at work side by side
			}
			checked.Add(1)
			versions.Add(int64(a.versions))
			conflicts.Add(int64(a.conflicts))
			deadProposals.Add(int64(a.deadProposals))
			for _, w := range wrong {
				t.Errorf("seed %d: %s\n%s", seed, w, o.Plan)
			}
		})
	}
}
