package postgres

import (
	"context"
	"time"
)

const (
	tellInterval  = time.Second
	sweepInterval = time.Minute
	// sweepRows bounds one deletion, so that none holds up the handlers for long.
	sweepRows = 1000
	// tellRows bounds one update likewise.
	tellRows = 1000
	// maxUntold bounds what is kept while the database is down. What is over it
	// stays in doubt.
	maxUntold = 1 << 17
)

// tell notes that the platform's ledger knows a message.
func (db *DB) tell(s settled) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(db.settled) < maxUntold {
		db.settled = append(db.settled, s)
	}
}

// tend tells the database what is settled, and deletes what is old.
func (db *DB) tend(ctx context.Context) {
	defer close(db.done)
	tell := time.NewTicker(tellInterval)
	defer tell.Stop()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := db.tellAll(last); err != nil {
				db.cfg.Logger.Warn("what was settled last stays in doubt in the inbox; it takes space only", "error", err)
			}
			return
		case <-tell.C:
			err = db.tellAll(ctx)
		case <-sweep.C:
			_, err = db.Sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			db.cfg.Logger.Warn("the inbox is not tended; tried again", "error", err)
		}
	}
}

func (db *DB) tellAll(ctx context.Context) error {
	for {
		db.mu.Lock()
		some := db.settled[:min(len(db.settled), tellRows)]
		db.mu.Unlock()
		if len(some) == 0 {
			return nil
		}
		groups, ids := make([]string, len(some)), make([][]byte, len(some))
		for i, s := range some {
			groups[i], ids[i] = s.group, s.id[:]
		}
		if _, err := db.pool.Exec(ctx, `
			UPDATE parley.inbox AS i SET settled_at = now() FROM unnest($1::text[], $2::bytea[]) AS s (group_name, message_id)
			WHERE i.group_name = s.group_name AND i.message_id = s.message_id AND i.settled_at IS NULL`, groups, ids); err != nil {
			return err
		}
		db.mu.Lock()
		db.settled = db.settled[len(some):]
		db.mu.Unlock()
	}
}

// Sweep deletes what is older than Config says, in bounded batches, and returns
// how many rows those were. It runs by itself once a minute.
func (db *DB) Sweep(ctx context.Context) (rows int64, err error) {
	for _, old := range []struct {
		where string
		than  time.Duration
	}{
		{"settled_at < now() - $1::bigint * interval '1 millisecond'", db.cfg.Window},
		{"settled_at IS NULL AND handled_at < now() - $1::bigint * interval '1 millisecond'", db.cfg.Doubt},
	} {
		for {
			tag, err := db.pool.Exec(ctx, `
				DELETE FROM parley.inbox WHERE ctid = ANY (ARRAY(
					SELECT ctid FROM parley.inbox WHERE `+old.where+` LIMIT $2 FOR UPDATE SKIP LOCKED))`,
				old.than.Milliseconds(), sweepRows)
			if err != nil {
				return rows, err
			}
			rows += tag.RowsAffected()
			if tag.RowsAffected() < sweepRows {
				break
			}
		}
	}
	return rows, nil
}
