package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// RelayConfig says how a relay works. The zero value works.
type RelayConfig struct {
	Poll     time.Duration // between two looks at an empty outbox; default 50 ms
	Batch    int           // messages sent at once; default 500
	Patience time.Duration // for a topic that does not exist; default 1 min
	Observer RelayObserver // default: none
	Logger   *slog.Logger  // default: none
}

// RelayObserver is told what a relay does.
type RelayObserver interface {
	Sent(n int)
	Parked()
	// Oldest is the age of the oldest message that was not sent yet; 0: none.
	Oldest(age time.Duration)
}

type unobserved struct{}

func (unobserved) Sent(int)             {}
func (unobserved) Parked()              {}
func (unobserved) Oldest(time.Duration) {}

// Relay sends what transactions have put into the outbox. Any number may run: one
// works, the others wait for its place.
type Relay struct {
	pool   *pgxpool.Pool
	sender *agents.Sender
	cfg    RelayConfig
}

// NewRelay returns a relay that sends by any sender of the platform: a message
// has the name that it was drafted under.
func NewRelay(pool *pgxpool.Pool, sender *agents.Sender, cfg RelayConfig) *Relay {
	if cfg.Poll == 0 {
		cfg.Poll = 50 * time.Millisecond
	}
	if cfg.Batch == 0 {
		cfg.Batch = 500
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	if cfg.Observer == nil {
		cfg.Observer = unobserved{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Relay{pool: pool, sender: sender, cfg: cfg}
}

// relayPause is the pause after a failure, and between two tries for the place of
// another relay.
const relayPause = time.Second

// Run relays until ctx ends. Whatever fails is tried again; what can never be
// sent, because it is too large or its topic does not exist, is put aside in
// parley.outbox_parked, logged and counted, and what follows is sent.
func (r *Relay) Run(ctx context.Context) error {
	for {
		err := r.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.cfg.Logger.Warn("the outbox is not relayed; tried again", "error", err)
		}
		pause(ctx, relayPause)
	}
}

// session relays on one connection, which holds the lock: if it is lost, so is
// the place, and nothing more is deleted.
func (r *Relay) session(ctx context.Context) error {
	pooled, err := r.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	conn := pooled.Hijack() // closed here: the lock must not go back to the pool
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(end) // the server frees the lock in any case
	}()
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lockRelay).Scan(&mine); err != nil || !mine {
		return err
	}
	for ctx.Err() == nil {
		rows, err := oldest(ctx, conn, r.cfg.Batch)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			r.cfg.Observer.Oldest(0)
			pause(ctx, r.cfg.Poll)
			continue
		}
		r.cfg.Observer.Oldest(rows[0].age)
		if err := r.relay(ctx, conn, rows); err != nil {
			return err
		}
	}
	return nil
}

// relay sends rows and notes what has become of each.
func (r *Relay) relay(ctx context.Context, conn *pgx.Conn, rows []row) error {
	recs := make([]*streaming.Record, len(rows))
	for i := range rows {
		recs[i] = rows[i].rec
	}
	var sent []int64
	var again error
	for i, err := range r.sender.Forward(ctx, recs...) {
		w := &rows[i]
		switch {
		case err == nil:
			sent = append(sent, w.seq)
		case errors.Is(err, streaming.ErrRecordTooLarge), errors.Is(err, streaming.ErrUnknownTopic) && w.age > r.cfg.Patience:
			r.cfg.Logger.Error("a message of the outbox cannot be sent and is put aside in parley.outbox_parked", "seq", w.seq, "topic", w.rec.Topic, "error", err)
			if err := park(ctx, conn, w.seq, err); err != nil {
				return err
			}
			r.cfg.Observer.Parked()
		default:
			again = err
		}
	}
	if len(sent) > 0 {
		if err := forget(ctx, conn, sent); err != nil {
			return err
		}
		r.cfg.Observer.Sent(len(sent))
	}
	if again != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("messages of the outbox are not sent; tried again", "error", again)
		pause(ctx, relayPause)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
