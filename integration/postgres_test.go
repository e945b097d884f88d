//go:build integration

package integration

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/postgres"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
)

// bookerVariable makes the test binary a worker whose handler writes to a
// database.
const bookerVariable = "PARLEY_TEST_BOOKER"

// dier kills or freezes its own process when the nth statement of a kind starts
// or ends.
type dier struct {
	sql    string
	at     int64
	before bool
	signal syscall.Signal
	seen   atomic.Int64
}

type sqlKey struct{}

func (d *dier) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if d.before && strings.HasPrefix(q.SQL, d.sql) {
		d.die()
	}
	return context.WithValue(ctx, sqlKey{}, q.SQL)
}

func (d *dier) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryEndData) {
	if sql, _ := ctx.Value(sqlKey{}).(string); !d.before && q.Err == nil && strings.HasPrefix(sql, d.sql) {
		d.die()
	}
}

func (d *dier) die() {
	if d.seen.Add(1) == d.at {
		_ = syscall.Kill(os.Getpid(), d.signal)
		time.Sleep(time.Minute) // the signal is on its way
	}
}

func poolTo(ctx context.Context, url string, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 20
	cfg.ConnConfig.Tracer = tracer
	return pgxpool.NewWithConfig(ctx, cfg)
}

// runBooker is the worker process: brokers, registry, database, group, mode, and
// after which commit it dies (0: never), or, with f before it, in which handler
// it freezes, or, with c, just before which commit.
func runBooker(spec string) int {
	part := strings.Split(spec, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	d := &dier{sql: "commit", signal: syscall.SIGKILL}
	if n, ok := strings.CutPrefix(part[5], "f"); ok {
		d.sql, d.before, d.signal, part[5] = "SELECT 'freeze'", true, syscall.SIGSTOP, n
	} else if n, ok := strings.CutPrefix(part[5], "c"); ok {
		d.before, d.signal, part[5] = true, syscall.SIGSTOP, n
	}
	d.at, _ = strconv.ParseInt(part[5], 10, 64)
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "booker:", err)
		return 1
	}
	pool, err := poolTo(ctx, part[2], d)
	if err != nil {
		return fail(err)
	}
	defer pool.Close()
	p, err := connectTo(ctx, part[0], part[1], slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return fail(err)
	}
	db := postgres.Open(pool, postgres.Config{IdleTimeout: 5 * time.Minute})
	defer db.Close()
	a := agents.New(part[3], agents.Config{
		ExactlyOnce: part[4] == "exactly-once", SessionTimeout: 6 * time.Second, DrainTimeout: 3 * time.Second,
		Retry: retry.Policy{Tiers: []time.Duration{100 * time.Millisecond}, Attempts: 8},
	})
	postgres.On(a, db, func(ctx context.Context, tx pgx.Tx, m *agents.Message[schemas.ErrorReply]) error {
		if _, err := tx.Exec(ctx, "INSERT INTO effects (message, key, pid) VALUES ($1, $2, $3)", m.ID(), m.Key, os.Getpid()); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT 'freeze'"); err != nil {
			return err
		}
		// Another reason on each run: what was committed is what is sent.
		return m.Publish(part[3], &schemas.ErrorReply{Reason: fmt.Sprintf("%s of %d", m.ID(), os.Getpid())}, agents.Key(m.Key))
	})
	if err := p.Run(ctx, a); err != nil {
		return fail(err)
	}
	return 0
}

// shop is a database of a test's own, with the topics of its agent.
type shop struct {
	t                 testing.TB
	group, out        string
	brokers, registry string
	url               string
	pool              *pgxpool.Pool
	platform          *agents.Platform
	sender            *agents.Sender
}

func newShop(t testing.TB) *shop {
	t.Helper()
	kafka, registry, server := cluster.SharedKafka(t), cluster.SharedRegistry(t), cluster.SharedPostgres(t)
	s := &shop{t: t, group: cluster.Name(t), brokers: kafka.Bootstrap(), registry: registry.URL}
	if len(s.group) > 50 {
		s.group = s.group[len(s.group)-50:]
	}
	s.out = string(streaming.DefaultNamespace.Events(s.group))
	ctx := t.Context()
	root, err := pgx.Connect(ctx, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.ReplaceAll(s.group, "-", "_")
	if _, err := root.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	if err := root.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s.url = strings.Replace(server.URL, "/postgres?", "/"+database+"?", 1)
	if s.pool, err = poolTo(ctx, s.url, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	if err := postgres.Migrate(ctx, s.pool); err != nil {
		t.Fatal(err)
	}
	if s.platform, err = connectTo(ctx, s.brokers, s.registry, nil); err != nil {
		t.Fatal(err)
	}
	if s.sender, err = s.platform.Sender("giver"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sender.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 6, 1, nil, s.out); err != nil {
		t.Fatal(err)
	}
	s.exec("CREATE TABLE effects (n bigserial, message text, key text, pid int)")
	return s
}

func (s *shop) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) count(sql string, args ...any) (n int) {
	s.t.Helper()
	if err := s.pool.QueryRow(s.t.Context(), sql, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// start starts a worker process.
func (s *shop) start(mode, dies string) *exec.Cmd {
	s.t.Helper()
	return s.process(bookerVariable, strings.Join([]string{s.brokers, s.registry, s.url, s.group, mode, dies}, " "))
}

func (s *shop) process(variable, spec string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+spec)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func (s *shop) send(id, key string) {
	s.t.Helper()
	draft := s.sender.ToAgent(s.group, &schemas.ErrorReply{}, agents.ID(id), agents.Key(key))
	eventually(s.t, func() error { return s.sender.Send(s.t.Context(), draft) })
}

// await waits until a query counts so many.
func (s *shop) await(want int, sql string, args ...any) {
	s.t.Helper()
	eventually(s.t, func() error {
		if n := s.count(sql, args...); n < want {
			return fmt.Errorf("%s: %d of %d", sql, n, want)
		}
		return nil
	})
}

func (s *shop) stop(cmd *exec.Cmd) {
	s.t.Helper()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("the worker does not drain: %v", err)
	}
}

const (
	messages = 300
	keys     = 12
)

// TestPostgresKilledBetweenCommitAndMark kills a worker just after its database
// has committed, again and again: each effect is there once, in the order of its
// key, and what is sent is what was committed with it.
func TestPostgresKilledBetweenCommitAndMark(t *testing.T) {
	for _, mode := range []string{"at-least-once", "exactly-once"} {
		t.Run(mode, func(t *testing.T) {
			s := newShop(t)
			worker := s.start(mode, "1")
			for i := range messages {
				s.send(fmt.Sprintf("%06d", i), strconv.Itoa(i%keys))
			}
			kills := 0
			for _, dies := range []int{17} {
				if err := worker.Wait(); err == nil {
					t.Fatal("the worker was to die")
				}
				kills++
				worker = s.start(mode, strconv.Itoa(dies))
			}
			if err := worker.Wait(); err == nil {
				t.Fatal("the worker was to die")
			}
			worker = s.start(mode, "0")
			s.await(messages, "SELECT count(DISTINCT message) FROM effects")
			readUntil(t, t.Context(), s.brokers, s.out, messages)
			s.stop(worker)
			if n := s.count("SELECT count(*) FROM parley.inbox WHERE settled_at IS NOT NULL"); n == 0 {
				t.Error("no row is settled") // those of the last second before a kill stay in doubt
			}
			s.check(messages)
			records := readUntil(t, t.Context(), s.brokers, s.out, 0)
			if mode == "exactly-once" && len(records) != messages {
				t.Errorf("%d copies of %d messages", len(records), messages)
			}
			t.Logf("%d kills after a commit, %d copies", kills+1, len(records))
		})
	}
}

// check holds the effects against the messages, and the copies against the
// effects: the same run has made both.
func (s *shop) check(messages int) {
	s.t.Helper()
	if n := s.count("SELECT count(*) FROM effects"); n != messages {
		s.t.Errorf("%d effects of %d messages", n, messages)
	}
	if n := s.count("SELECT count(*) FROM effects a JOIN effects b ON a.key = b.key AND a.n < b.n AND a.message > b.message"); n > 0 {
		s.t.Errorf("%d pairs of effects are not in the order of their key", n)
	}
	values := map[string]bool{}
	for _, r := range readUntil(s.t, s.t.Context(), s.brokers, s.out, messages) {
		values[string(r.Value)] = true
	}
	if len(values) != messages {
		s.t.Errorf("%d different copies of %d messages: a second run has sent something else", len(values), messages)
	}
}

// TestPostgresDuplicates sends each message many times, with its key and with
// others, so that several partitions handle it at once.
func TestPostgresDuplicates(t *testing.T) {
	s := newShop(t)
	worker := s.start("at-least-once", "0")
	const different, times = 20, 12
	for i := range times {
		for id := range different {
			s.send(fmt.Sprintf("m-%d", id), strconv.Itoa(i))
		}
	}
	for key := range 30 { // behind all of them in each partition
		s.send(fmt.Sprintf("last-%d", key), fmt.Sprintf("last-%d", key))
	}
	s.await(30, "SELECT count(*) FROM effects WHERE message LIKE 'last-%'")
	s.await(different, "SELECT count(DISTINCT message) FROM effects WHERE message LIKE 'm-%'")
	s.stop(worker)
	if n := s.count("SELECT count(*) FROM effects WHERE message LIKE 'm-%'"); n != different {
		t.Errorf("%d effects of %d messages", n, different)
	}
}

// awaitStopped waits until a process is stopped by a signal.
func awaitStopped(t testing.TB, pid int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		// proc(5): the state follows the name in its parentheses.
		if _, after, ok := strings.Cut(string(text), ") "); ok && strings.HasPrefix(after, "T") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is not stopped", pid)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestPostgresZombie freezes a worker in the middle of its transactions, lets
// another one take over, and wakes it: nothing of its transactions is committed.
// Those that were checked but not committed hold up their successors for a few
// seconds only, far less than the handlers may take.
func TestPostgresZombie(t *testing.T) {
	for name, freezes := range map[string]string{"in a handler": "f5", "before a commit": "c5"} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			zombie := s.start("at-least-once", freezes)
			const messages = 40
			for i := range messages {
				s.send(fmt.Sprintf("%06d", i), strconv.Itoa(i%keys))
			}
			awaitStopped(t, zombie.Process.Pid)
			before := s.count("SELECT count(*) FROM effects WHERE pid = $1", zombie.Process.Pid)
			owner := s.start("at-least-once", "0")
			s.await(messages, "SELECT count(DISTINCT message) FROM effects")
			if err := zombie.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second) // it would commit now
			if n := s.count("SELECT count(*) FROM effects WHERE pid = $1", zombie.Process.Pid); n != before {
				t.Errorf("the zombie has committed %d effects", n-before)
			}
			s.check(messages)
			s.stop(owner)
			if before >= messages {
				t.Error("it was not frozen in time")
			}
		})
	}
}
