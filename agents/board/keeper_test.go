package board_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func TestProposalsAreJudgedByVersion(t *testing.T) {
	s := newShop(t)
	s.start(t, prices.Keeper(quick))
	for _, step := range []struct {
		what     string
		do       func() (int64, error)
		version  int64
		conflict *board.ConflictError[price]
	}{
		{"a first value", func() (int64, error) {
			return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 1}, board.Absent)
		}, 1, nil},
		{"a first value again", func() (int64, error) {
			return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 9}, board.Absent)
		}, 0, &board.ConflictError[price]{Board: "prices", Key: "anvil", Expected: board.Absent, Current: 1, Value: price{Cents: 1}, Exists: true}},
		{"a set", func() (int64, error) { return prices.Set(t.Context(), s.r, "anvil", price{Cents: 2}) }, 2, nil},
		{"its version", func() (int64, error) { return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 3}, 2) }, 3, nil},
		{"a stale version", func() (int64, error) {
			return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 9}, 2)
		}, 0, &board.ConflictError[price]{Board: "prices", Key: "anvil", Expected: 2, Current: 3, Value: price{Cents: 3}, Exists: true}},
		{"a version to come", func() (int64, error) {
			return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 9}, 4)
		}, 0, &board.ConflictError[price]{Board: "prices", Key: "anvil", Expected: 4, Current: 3, Value: price{Cents: 3}, Exists: true}},
		{"a stale deletion", func() (int64, error) {
			return prices.Delete(t.Context(), s.r, "anvil", 1)
		}, 0, &board.ConflictError[price]{Board: "prices", Key: "anvil", Expected: 1, Current: 3, Value: price{Cents: 3}, Exists: true}},
		{"a deletion", func() (int64, error) { return prices.Delete(t.Context(), s.r, "anvil", 3) }, 4, nil},
		{"a version of what is deleted", func() (int64, error) {
			return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 9}, 3)
		}, 0, &board.ConflictError[price]{Board: "prices", Key: "anvil", Expected: 3, Current: 4}},
		{"a value after a deletion", func() (int64, error) {
			return prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 5}, board.Absent)
		}, 5, nil},
		{"another key", func() (int64, error) { return prices.Set(t.Context(), s.r, "rope", price{Cents: 7}) }, 1, nil},
		{"the version of a deletion", func() (int64, error) {
			if _, err := prices.Delete(t.Context(), s.r, "rope", board.Any); err != nil {
				return 0, err
			}
			return prices.CompareAndSet(t.Context(), s.r, "rope", price{Cents: 8}, 2)
		}, 3, nil},
	} {
		version, err := step.do()
		var conflict *board.ConflictError[price]
		if errors.As(err, &conflict) && step.conflict != nil && *conflict == *step.conflict && errors.Is(err, board.ErrConflict) && version == 0 {
			continue
		}
		if step.conflict != nil || err != nil || version != step.version {
			t.Errorf("%s: version %d, %v", step.what, version, err)
		}
	}
	eventually(t, "the counts", func() bool {
		return s.counter(t, "parley_board_proposals_total", "") == 13 && s.counter(t, "parley_board_conflicts_total", "") == 5
	})
	v := s.open(t)
	if anvil, rope := got(v.Get("anvil")), got(v.Get("rope")); anvil != "5 at 5, true" || rope != "8 at 3, true" || v.Len() != 2 {
		t.Errorf("the view has anvil %s and rope %s", anvil, rope)
	}
}

// The board as a client sees it that has Kafka and Avro only.
func TestTheTopicIsPlain(t *testing.T) {
	s := newShop(t)
	s.start(t, prices.Keeper(quick))
	for cents := range int64(2) {
		if _, err := prices.Set(t.Context(), s.r, "anvil", price{Cents: cents}, agents.ID(fmt.Sprint("proposal-", cents))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := prices.Delete(t.Context(), s.r, "anvil", board.Any, agents.ID("proposal-2")); err != nil {
		t.Fatal(err)
	}
	recs := s.cluster.ReadAll(t, "parley.state.prices")
	if len(recs) != 3 {
		t.Fatalf("%d records", len(recs))
	}
	for i, rec := range recs {
		h := headers(rec)
		if string(rec.Key) != "anvil" || h["ce_kind"] != "statediff" || h["ce_sequence"] != fmt.Sprint(i+1) || h["ce_type"] != "test.price" ||
			h["ce_causationid"] != fmt.Sprint("proposal-", i) || h["ce_source"] != "board-prices" || h["ce_expirytime"] != "" {
			t.Errorf("record %d: key %s, headers %v", i, rec.Key, h)
		}
		if i == 2 {
			if rec.Value != nil {
				t.Errorf("a deletion has the value %x", rec.Value)
			}
			continue
		}
		var p price
		if err := s.Codec().Decode(t.Context(), rec.Value, &p, "test.price"); err != nil || p.Cents != int64(i) {
			t.Errorf("record %d: %+v, %v", i, p, err)
		}
	}
}

func headers(rec *kgo.Record) map[string]string {
	h := make(map[string]string)
	for _, one := range rec.Headers {
		h[one.Key] = string(one.Value)
	}
	return h
}

// A proposal that comes again has one effect and the same answer: while the ledger
// knows it, after the keeper has started anew, and when only the board itself does.
func TestAProposalThatComesAgain(t *testing.T) {
	s := newShop(t, func(c *agents.PlatformConfig) { c.Partitions = 1 })
	cfg := quick
	cfg.LedgerSize = 4
	stop := s.start(t, prices.Keeper(cfg))
	propose := func() {
		t.Helper()
		version, err := prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 5}, board.Absent, agents.ID("same"))
		if err != nil || version != 1 {
			t.Fatalf("version %d, %v", version, err)
		}
	}
	conflict := func() {
		t.Helper()
		_, err := prices.CompareAndSet(t.Context(), s.r, "anvil", price{Cents: 6}, 7, agents.ID("stale"))
		var c *board.ConflictError[price]
		if !errors.As(err, &c) || c.Current != 1 || c.Value.Cents != 5 {
			t.Fatal(err)
		}
	}
	propose()
	conflict()
	propose()
	stop()
	s.start(t, prices.Keeper(cfg))
	propose()
	conflict()
	for i := range 30 { // the ledger forgets
		if _, err := prices.Set(t.Context(), s.r, fmt.Sprint(i), price{}); err != nil {
			t.Fatal(err)
		}
	}
	propose()
	var anvils []string
	for _, rec := range s.cluster.ReadAll(t, "parley.state.prices") {
		if string(rec.Key) == "anvil" {
			anvils = append(anvils, headers(rec)["ce_sequence"])
		}
	}
	if !slices.Equal(anvils, []string{"1"}) {
		t.Errorf("versions %v", anvils)
	}
}

// Of a thousand who compare and set one key at once, the successes add up.
func TestConcurrentProposals(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactlyOnce), func(t *testing.T) {
			s := newShop(t)
			cfg := quick
			cfg.ExactlyOnce = exactlyOnce
			s.start(t, prices.Keeper(cfg))
			v := s.open(t)
			const proposers = 1000
			const updates = 100 // a thousand of them: see integration
			var wg sync.WaitGroup
			var mu sync.Mutex
			successes, conflicts := 0, 0
			begin := time.Now()
			for range proposers {
				wg.Go(func() {
					<-time.After(rand.N(time.Second))
					p, version, _ := v.Get("counter")
					_, err := prices.CompareAndSet(t.Context(), s.r, "counter", price{Cents: p.Cents + 1}, version)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						successes++
					case errors.Is(err, board.ErrConflict):
						conflicts++
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			want := fmt.Sprintf("%d at %d, true", successes, successes)
			if has := wait(t, v, "counter", int64(successes)); has != want || successes+conflicts != proposers || successes == 0 {
				t.Errorf("%d successes and %d conflicts, the board has %s", successes, conflicts, has)
			}
			t.Logf("%d at once: %d successes, %d conflicts in %s", proposers, successes, conflicts, time.Since(begin).Round(time.Millisecond))

			begin = time.Now()
			for range updates {
				wg.Go(func() {
					if _, err := prices.Update(t.Context(), s.r, v, "counter", func(p price, _ bool) (price, error) { p.Cents++; return p, nil }); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			want = fmt.Sprintf("%d at %d, true", successes+updates, successes+updates)
			if has := wait(t, v, "counter", int64(successes+updates)); has != want {
				t.Errorf("after %d updates the board has %s, want %s", updates, has, want)
			}
			t.Logf("%d updates at once in %s; proposals in all: %d", updates, time.Since(begin).Round(time.Millisecond), s.counter(t, "parley_board_proposals_total", ""))
		})
	}
}

// Proposals of a handler, whose answers come to its agent.
func TestProposalsOfAHandler(t *testing.T) {
	s := newShop(t)
	s.start(t, prices.Keeper(quick))
	answers := make(chan string, 10)
	a := agents.New("buyer", quick)
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
		kind := agents.Kind(streaming.KindRequest)
		if m.Payload.Reason == "quietly" {
			kind = agents.Kind(streaming.KindCommand)
		}
		if m.Payload.Reason == "delete" {
			return prices.ProposeDeletion(m, "anvil", board.Any)
		}
		return prices.Propose(ctx, m, "anvil", price{Cents: 3}, board.Absent, kind)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[schemas.BoardAnswer]) error {
		version, err := prices.Answer(ctx, m.Platform(), &m.Payload)
		answers <- fmt.Sprintf("%s %d %t", m.Key, version, errors.Is(err, board.ErrConflict))
		return nil
	})
	s.start(t, a)
	sender, err := s.Sender("customer")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for _, step := range []struct{ ask, want string }{{"go", "anvil 1 false"}, {"go", "anvil 0 true"}, {"quietly", ""}, {"delete", "anvil 2 false"}} {
		if err := sender.Send(t.Context(), sender.ToAgent("buyer", &schemas.AgentControl{Reason: step.ask}, agents.Key("k"))); err != nil {
			t.Fatal(err)
		}
		if step.want == "" {
			continue
		}
		select {
		case answer := <-answers:
			if answer != step.want {
				t.Errorf("answer %q, want %q", answer, step.want)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no answer")
		}
	}
}

// What is no proposal of a value of this board is a dead letter and is counted, and
// changes nothing.
func TestBadProposals(t *testing.T) {
	s := newShop(t)
	s.start(t, prices.Keeper(quick))
	framed := func(m schemas.Message) *[]byte {
		value, err := s.Codec().Encode(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return &value
	}
	minus := int64(-7)
	other, cut, unknown := framed(&schemas.Ack{}), (*framed(price{Cents: 1e9}))[:6], []byte{0, 0, 0, 99, 99, 2, 2}
	bad := 0
	for _, c := range []struct {
		what     string
		proposal schemas.BoardProposal
		key      string
		reason   streaming.Reason
	}{
		{"another board", schemas.BoardProposal{Board: "other"}, "k", streaming.ReasonPermanent},
		{"no version", schemas.BoardProposal{Board: "prices", Expected: &minus}, "k", streaming.ReasonPermanent},
		{"a long key", schemas.BoardProposal{Board: "prices"}, strings.Repeat("k", board.MaxKey+1), streaming.ReasonPermanent},
		{"another type", schemas.BoardProposal{Board: "prices", Value: other}, "k", streaming.ReasonContract},
		{"a cut value", schemas.BoardProposal{Board: "prices", Value: &cut}, "k", streaming.ReasonDecode},
		{"a large value", schemas.BoardProposal{Board: "prices", Value: framed(price{By: strings.Repeat("x", 300_000)})}, "k", streaming.ReasonPermanent},
		{"an unknown schema", schemas.BoardProposal{Board: "prices", Value: &unknown}, "k", streaming.ReasonSchema},
	} {
		_, err := agents.Request[schemas.BoardAnswer](t.Context(), s.r, prices.Agent(), c.proposal, agents.Key(c.key))
		var failed *agents.RequestError
		if !errors.As(err, &failed) || failed.Reason != c.reason {
			t.Errorf("%s: %v, want a dead letter of %s", c.what, err, c.reason)
		}
		bad++
	}
	if n := s.counter(t, "parley_board_bad_total", "proposal"); n != bad {
		t.Errorf("%d bad proposals are counted, want %d", n, bad)
	}
	// What the proposer's own side knows to be wrong is not sent.
	for what, err := range map[string]error{
		"a broken rule":  second(prices.Set(t.Context(), s.r, "k", price{Cents: -1})),
		"an empty key":   second(prices.Set(t.Context(), s.r, "", price{})),
		"no version":     second(prices.CompareAndSet(t.Context(), s.r, "k", price{}, -2)),
		"no board":       second(board.New[price]("No Board").Set(t.Context(), s.r, "k", price{})),
		"no board, read": second(board.New[price]("No Board").Open(t.Context(), s.Platform)),
	} {
		var none *agents.NoReplyError
		if err == nil || errors.As(err, &none) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Worker(board.New[price]("No Board").Keeper(quick)); err == nil {
		t.Error("a keeper of no board")
	}
	if n := len(s.cluster.ReadAll(t, "parley.state.prices")); n != 0 {
		t.Errorf("%d records stand on the board", n)
	}
}

func second[T any](_ T, err error) error { return err }
