//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/postgres"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// relayVariable makes the test binary a relay.
const relayVariable = "PARLEY_TEST_RELAY"

// runRelay is the relay process: brokers, database, and before which deletion of
// sent rows it dies (0: never).
func runRelay(spec string) int {
	part := strings.Split(spec, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	d := &dier{sql: "DELETE FROM parley.outbox", before: true, signal: syscall.SIGKILL}
	d.at, _ = strconv.ParseInt(part[2], 10, 64)
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "relay:", err)
		return 1
	}
	pool, err := poolTo(ctx, part[1], d)
	if err != nil {
		return fail(err)
	}
	defer pool.Close()
	p, err := agents.Connect(ctx, agents.PlatformConfig{Brokers: []string{part[0]}, Schemas: schemas.NewMemoryRegistry()})
	if err != nil {
		return fail(err)
	}
	sender, err := p.Sender("relay")
	if err != nil {
		return fail(err)
	}
	defer sender.Close()
	if err := postgres.NewRelay(pool, sender, postgres.RelayConfig{Batch: 20}).Run(ctx); err != nil {
		return fail(err)
	}
	return 0
}

var errUndone = errors.New("the sender thinks better of it")

// TestOutboxUnderKills has a relay killed between acknowledgement and deletion,
// and at any other time, with a second one waiting for its place, while many
// transactions write, some of which are rolled back. Each committed message
// comes, none else, in the order of its key.
func TestOutboxUnderKills(t *testing.T) {
	s := newShop(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const senders, each = 12, 50
	var committed sync.Map
	var work sync.WaitGroup
	total := 0
	var mu sync.Mutex
	for n := range senders {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)))
		work.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%02d-%04d", n, i)
				err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
					time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond) // transactions overlap
					draft := s.sender.ToStream(s.group, &schemas.ErrorReply{Reason: id}, agents.ID(id), agents.Key(strconv.Itoa(n)))
					if err := postgres.Send(t.Context(), tx, s.sender, draft); err != nil {
						return err
					}
					if _, err := tx.Exec(t.Context(), "INSERT INTO effects (message) VALUES ($1)", id); err != nil {
						return err
					}
					time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
					if rnd.IntN(5) == 0 {
						return errUndone
					}
					return nil
				})
				switch {
				case err == nil:
					committed.Store(id, true)
					mu.Lock()
					total++
					mu.Unlock()
				case !errors.Is(err, errUndone):
					t.Error(err)
				}
			}
		})
	}
	relay := func(dies string) func() {
		cmd := s.process(relayVariable, s.brokers+" "+s.url+" "+dies)
		return func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	second := relay("0")
	kills := 0
	for i := range 10 {
		dies := strconv.Itoa(i%3 + 1) // between acknowledgement and deletion
		first := relay(dies)
		time.Sleep(time.Duration(200+rand.IntN(400)) * time.Millisecond)
		second()
		kills++
		second = first
	}
	work.Wait()
	second()
	kills++
	last := relay("0")
	readUntil(t, t.Context(), s.brokers, s.out, total)
	eventually(t, func() error {
		if n := s.count("SELECT count(*) FROM parley.outbox"); n > 0 {
			return fmt.Errorf("%d rows are left", n)
		}
		return nil
	})
	last()
	records := readUntil(t, t.Context(), s.brokers, s.out, 0)
	seen, latest, ids := map[string]bool{}, map[string]string{}, map[string]string{}
	disorder := 0
	for _, r := range records {
		id, value := "", string(r.Value)
		for _, h := range r.Headers {
			if h.Key == "ce_id" {
				id = string(h.Value)
			}
		}
		if _, ok := committed.Load(id); !ok {
			t.Errorf("%s was rolled back and sent", id)
		}
		if seen[id] {
			if ids[id] != value {
				t.Errorf("%s was sent again with another value", id)
			}
			continue
		}
		seen[id], ids[id] = true, value
		if id < latest[string(r.Key)] {
			disorder++
		}
		latest[string(r.Key)] = id
	}
	t.Logf("%d messages committed, %d sent, %d again, %d kills", total, len(seen), len(records)-len(seen), kills)
	if len(seen) != total || disorder > 0 {
		t.Errorf("%d of %d messages came, %d out of order", len(seen), total, disorder)
	}
}

// TestOutboxOrderFollowsWhatTransactionsSaw has a transaction that began to write
// first wait for the one that commits first.
func TestOutboxOrderFollowsWhatTransactionsSaw(t *testing.T) {
	s := newShop(t)
	ctx := t.Context()
	s.exec("CREATE TABLE accounts (id int PRIMARY KEY, n int)")
	s.exec("INSERT INTO accounts VALUES (1, 0)")
	send := func(tx pgx.Tx, id string) {
		t.Helper()
		if _, err := tx.Exec(ctx, "UPDATE accounts SET n = n + 1 WHERE id = 1"); err != nil {
			t.Fatal(err)
		}
		if err := postgres.Send(ctx, tx, s.sender, s.sender.ToStream(s.group, &schemas.ErrorReply{Reason: id}, agents.ID(id), agents.Key("k"))); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() pgx.Tx {
		t.Helper()
		tx, err := s.pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	commit := func(tx pgx.Tx) {
		t.Helper()
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	early := begin()
	if _, err := early.Exec(ctx, "INSERT INTO effects (message) VALUES ('early')"); err != nil { // it has its ID now
		t.Fatal(err)
	}
	open := begin() // and one that stays open holds up nobody
	if _, err := open.Exec(ctx, "INSERT INTO effects (message) VALUES ('open')"); err != nil {
		t.Fatal(err)
	}
	late := begin()
	send(late, "first")
	commit(late)
	send(early, "second")
	commit(early)
	relayed, stop := context.WithCancel(ctx)
	var relay sync.WaitGroup
	relay.Go(func() { _ = postgres.NewRelay(s.pool, s.sender, postgres.RelayConfig{}).Run(relayed) })
	records := readUntil(t, ctx, s.brokers, s.out, 2)
	if err := open.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	relay.Wait()
	var ids []string
	for _, r := range records {
		for _, h := range r.Headers {
			if h.Key == "ce_id" {
				ids = append(ids, string(h.Value))
			}
		}
	}
	if strings.Join(ids, " ") != "first second" {
		t.Errorf("sent %v", ids)
	}
}

type relayed struct {
	mu           sync.Mutex
	sent, parked int
}

func (r *relayed) Sent(n int) { r.mu.Lock(); r.sent += n; r.mu.Unlock() }
func (r *relayed) Parked()    { r.mu.Lock(); r.parked++; r.mu.Unlock() }
func (r *relayed) Oldest(time.Duration) {
}

// TestOutboxParksWhatCannotBeSent has one message too large and one for a topic
// that does not exist among good ones.
func TestOutboxParksWhatCannotBeSent(t *testing.T) {
	s := newShop(t)
	ctx := t.Context()
	if err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		stream := func(id, text string) agents.Draft {
			return s.sender.ToStream(s.group, &schemas.ErrorReply{Reason: text}, agents.ID(id), agents.Key("k"))
		}
		return postgres.Send(ctx, tx, s.sender, stream("a", "a"), stream("large", strings.Repeat("x", 3<<20)),
			s.sender.ToStream("nowhere-"+s.group, &schemas.ErrorReply{}, agents.ID("lost")), stream("b", "b"))
	}); err != nil {
		t.Fatal(err)
	}
	relaying, stop := context.WithCancel(ctx)
	var relay sync.WaitGroup
	watch := &relayed{}
	relay.Go(func() {
		_ = postgres.NewRelay(s.pool, s.sender, postgres.RelayConfig{Patience: 3 * time.Second, Observer: watch}).Run(relaying)
	})
	readUntil(t, ctx, s.brokers, s.out, 2)
	s.await(2, "SELECT count(*) FROM parley.outbox_parked WHERE error <> ''")
	stop()
	relay.Wait()
	if n := s.count("SELECT count(*) FROM parley.outbox"); n != 0 || watch.sent != 2 || watch.parked != 2 {
		t.Errorf("%d rows are left, %d sent, %d parked", n, watch.sent, watch.parked)
	}
}

// TestInboxSweep deletes what is old, and what is in doubt later.
func TestInboxSweep(t *testing.T) {
	s := newShop(t)
	db := postgres.Open(s.pool, postgres.Config{Window: time.Hour, Doubt: 48 * time.Hour})
	defer db.Close()
	s.exec(`INSERT INTO parley.inbox (group_name, message_id, handled_at, settled_at)
		SELECT 'g', decode(md5(n::text), 'hex'), now() - make_interval(hours => n % 100), CASE WHEN n % 2 = 0 THEN now() - make_interval(hours => n % 100) END
		FROM generate_series(0, 4999) n`)
	keep := s.count("SELECT count(*) FROM parley.inbox WHERE settled_at >= now() - interval '1 hour' OR settled_at IS NULL AND handled_at >= now() - interval '48 hours'")
	rows, err := db.Sweep(t.Context())
	if left := s.count("SELECT count(*) FROM parley.inbox"); err != nil || int(rows) != 5000-left || left != keep || left == 0 {
		t.Errorf("%d rows deleted, %d left, %d to be kept, %v", rows, left, keep, err)
	}
}

// TestMigrateAtOnce has many processes make the tables.
func TestMigrateAtOnce(t *testing.T) {
	s := newShop(t)
	s.exec("DROP SCHEMA parley CASCADE")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if err := postgres.Migrate(t.Context(), s.pool); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
