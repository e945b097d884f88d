package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// On registers the handler of one message type, as agents.On does, with a
// transaction of the database: what the handler writes in it happens once for
// each message, whatever crashes. The transaction is committed when the handler
// returns nil, and rolled back when it returns an error or panics; the handler
// does neither itself. Its isolation is read committed.
func On[T schemas.Message](a *agents.Agent, db *DB, handle func(ctx context.Context, tx pgx.Tx, m *agents.Message[T]) error) {
	agents.On(a, func(ctx context.Context, m *agents.Message[T]) error {
		return db.once(ctx, m.Delivery(), func(tx pgx.Tx) error { return handle(ctx, tx, m) })
	})
}

// once runs a handler in a transaction, unless that has been done.
func (db *DB) once(ctx context.Context, d *streaming.Delivery, handle func(pgx.Tx) error) error {
	if err := db.takeOver(ctx, d.Claim); err != nil {
		return err
	}
	id := streaming.HashID(d.Envelope.Source, d.Envelope.ID)
	staged, known, err := db.find(ctx, d.Claim.Group, id)
	if err == nil && !known {
		err = db.handle(ctx, d, id, handle)
		if errors.Is(err, errHandledMeanwhile) {
			if staged, known, err = db.find(ctx, d.Claim.Group, id); err == nil && !known {
				err = errHandledMeanwhile
			}
		}
	}
	if err != nil {
		return err
	}
	if known {
		d.Outbox.Clear()
		for _, out := range staged {
			d.Outbox.Stage(out)
		}
	}
	d.Settled = func() { db.tell(settled{d.Claim.Group, id}) }
	return nil
}

// errHandledMeanwhile says that the same message was committed by somebody else
// between two looks: with another key, so in another partition.
var errHandledMeanwhile = errors.New("the message was handled by another worker at the same time")

// takeOver makes this owner of the lane the latest one that the database knows.
// It is done once for each owner, at its first message, and waits for the former
// one's transaction between its check and its end.
func (db *DB) takeOver(ctx context.Context, c streaming.Claim) error {
	at := lane{c.Group, c.Topic, c.Partition}
	db.mu.Lock()
	known, ok := db.epochs[at]
	db.mu.Unlock()
	if ok && known == c.Epoch {
		return nil
	}
	tag, err := db.pool.Exec(ctx, `
		INSERT INTO parley.lane AS l (group_name, topic, partition, epoch) VALUES ($1, $2, $3, $4)
		ON CONFLICT (group_name, topic, partition) DO UPDATE SET epoch = excluded.epoch WHERE l.epoch <= excluded.epoch`,
		c.Group, c.Topic, c.Partition, c.Epoch)
	if err != nil {
		return ours(err)
	}
	if tag.RowsAffected() == 0 {
		return fenced(c)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.epochs[at] = max(db.epochs[at], c.Epoch)
	return nil
}

func fenced(c streaming.Claim) error {
	return &streaming.UnavailableError{Err: fmt.Errorf("%s/%d of group %s, epoch %d: %w", c.Topic, c.Partition, c.Group, c.Epoch, streaming.ErrFenced)}
}

// find returns what the handler of a message has staged, if it was handled.
func (db *DB) find(ctx context.Context, group string, id streaming.MessageID) (staged []streaming.Outgoing, known bool, err error) {
	var encoded []byte
	err = db.pool.QueryRow(ctx, "SELECT staged FROM parley.inbox WHERE group_name = $1 AND message_id = $2", group, id[:]).Scan(&encoded)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, ours(err)
	case encoded == nil:
		return nil, true, nil
	}
	if err := json.Unmarshal(encoded, &staged); err != nil {
		return nil, false, fmt.Errorf("read what the handler had staged: %w", err)
	}
	return staged, true, nil
}

// checkedFor is how long a transaction may stay open once its epoch is checked.
// Only the commit is left then; a process that does not come to it is frozen, and
// its successor waits for the lock.
const checkedFor = 3 * time.Second

// handle runs the handler and commits its rows together with the inbox row. The
// epoch is checked last, so that the lock on it is held for the commit only.
func (db *DB) handle(ctx context.Context, d *streaming.Delivery, id streaming.MessageID, handle func(pgx.Tx) error) (err error) {
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return ours(err)
	}
	defer func() { // after a panic, too
		ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = tx.Rollback(ended) // nothing, after a commit
	}()
	if _, err := tx.Exec(ctx, idleFor, milliseconds(db.cfg.IdleTimeout)); err != nil {
		return ours(err)
	}
	if err := handle(tx); err != nil {
		return theirs(tx, err)
	}
	staged, err := encode(d.Outbox)
	if err != nil {
		return err
	}
	c := d.Claim
	var batch pgx.Batch
	batch.Queue(idleFor, milliseconds(min(checkedFor, db.cfg.IdleTimeout)))
	batch.Queue("SELECT epoch FROM parley.lane WHERE group_name = $1 AND topic = $2 AND partition = $3 FOR SHARE", c.Group, c.Topic, c.Partition)
	batch.Queue("INSERT INTO parley.inbox (group_name, message_id, staged) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", c.Group, id[:], staged)
	results := tx.SendBatch(ctx, &batch)
	var epoch int64
	_, limited := results.Exec()
	err = results.QueryRow().Scan(&epoch)
	tag, inserted := results.Exec()
	if errors.Is(err, pgx.ErrNoRows) { // somebody has emptied the table
		err = nil
	}
	if err := errors.Join(limited, err, inserted, results.Close()); err != nil {
		return theirs(tx, err)
	}
	switch {
	case epoch != c.Epoch:
		db.mu.Lock()
		delete(db.epochs, lane{c.Group, c.Topic, c.Partition}) // asked again next time
		db.mu.Unlock()
		return fenced(c)
	case tag.RowsAffected() == 0:
		return errHandledMeanwhile
	}
	if err := tx.Commit(ctx); err != nil {
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == idled {
			return ours(fmt.Errorf("this process stood still for longer than %v before its commit: %w", checkedFor, err))
		}
		return theirs(tx, err)
	}
	return nil
}

// idleFor limits how long a transaction may wait for its next statement, in ms.
const idleFor = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// encode returns what was staged, with the time that it will be sent under again.
func encode(outbox *streaming.Outbox) ([]byte, error) {
	staged := outbox.Staged()
	if len(staged) == 0 {
		return nil, nil
	}
	now := time.Now()
	for i := range staged {
		if staged[i].Envelope.Time.IsZero() {
			staged[i].Envelope.Time = now
		}
	}
	encoded, err := json.Marshal(staged)
	if err != nil {
		return nil, fmt.Errorf("keep what the handler staged: %w", err)
	}
	return encoded, nil
}
