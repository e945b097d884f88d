package postgres

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Config says how the inbox works. The zero value works.
type Config struct {
	// Window is how long a handled message is remembered once the platform's own
	// ledger knows it. Default 24 h.
	Window time.Duration
	// Doubt is how long one is remembered of which that is not known, because a
	// process died first. A message that comes again later than that is handled
	// again, so it must be longer than an agent may stand still. Default 30 days.
	Doubt time.Duration
	// IdleTimeout ends a transaction in which nothing happens, such as that of a
	// frozen process, whose locks would hold up its successor. A handler that asks
	// a model for longer than that does so before its first statement, or in a
	// Step of a handler without a transaction. Default 1 min.
	IdleTimeout time.Duration
	Logger      *slog.Logger // default: none
}

// DB is a database with the inbox of this process's agents.
type DB struct {
	pool *pgxpool.Pool
	cfg  Config

	mu      sync.Mutex
	epochs  map[lane]int64 // that the database knows
	settled []settled      // not yet told to the database

	stop context.CancelFunc
	done chan struct{}
}

type lane struct {
	group, topic string
	partition    int32
}

type settled struct {
	group string
	id    streaming.MessageID
}

// Open returns the inbox in a database that Migrate has prepared. The pool needs
// a connection for each handler that is to run at once.
func Open(pool *pgxpool.Pool, cfg Config) *DB {
	if cfg.Window == 0 {
		cfg.Window = 24 * time.Hour
	}
	if cfg.Doubt == 0 {
		cfg.Doubt = 30 * 24 * time.Hour
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	db := &DB{pool: pool, cfg: cfg, epochs: make(map[lane]int64), done: make(chan struct{})}
	var ctx context.Context
	ctx, db.stop = context.WithCancel(context.Background())
	go db.tend(ctx)
	return db
}

// Close ends the tending of the inbox: call it when the agents have ended. The
// pool stays open.
func (db *DB) Close() {
	db.stop()
	<-db.done
}
