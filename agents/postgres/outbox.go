package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Send writes messages to the outbox, in a transaction of the sender's own: a
// Relay sends them if it commits, and never if it does not. ID, envelope and
// value are fixed here. The messages of a transaction are sent in the order of
// its calls; a message whose transaction began to write it after another one's
// commit is sent after that one's.
//
// A relay that dies between an acknowledgement and its note of it sends the same
// message again, under the same ID: the ledger of the next agent drops it.
func Send(ctx context.Context, tx pgx.Tx, s *agents.Sender, drafts ...agents.Draft) error {
	recs, err := s.Records(ctx, drafts...)
	if err != nil {
		return err
	}
	var batch pgx.Batch
	for _, rec := range recs {
		names, values := make([]string, len(rec.Headers)), make([][]byte, len(rec.Headers))
		for i, h := range rec.Headers {
			names[i], values[i] = h.Key, h.Value
		}
		batch.Queue(`
			INSERT INTO parley.outbox (topic, partition, key, value, header_names, header_values, message_time)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			rec.Topic, rec.Partition, rec.Key, rec.Value, names, values, rec.Timestamp)
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	return nil
}

// row is one message of the outbox.
type row struct {
	seq int64
	age time.Duration
	rec *streaming.Record
}

// oldest reads what is committed and not yet sent, in the order of sending.
//
// That order is seq among what one statement sees, and nothing is passed by: a
// sent row is deleted, and no position is kept. A row whose transaction committed
// before another row was written has the lower seq, and whoever sees the other
// sees it too. The order of transaction IDs would not do: one is given out at a
// transaction's first write, which may be long before it has waited for the other
// and written its own row.
func oldest(ctx context.Context, conn *pgx.Conn, limit int) ([]row, error) {
	rows, err := conn.Query(ctx, `
		SELECT seq, topic, partition, key, value, header_names, header_values, message_time,
			(extract(epoch FROM clock_timestamp() - created_at) * 1000)::bigint
		FROM parley.outbox ORDER BY seq LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
		var names []string
		var values [][]byte
		var age int64
		w := row{rec: new(streaming.Record)}
		if err := r.Scan(&w.seq, &w.rec.Topic, &w.rec.Partition, &w.rec.Key, &w.rec.Value, &names, &values, &w.rec.Timestamp, &age); err != nil {
			return w, err
		}
		w.age = time.Duration(age) * time.Millisecond
		for i, name := range names {
			w.rec.Headers = append(w.rec.Headers, streaming.Header{Key: name, Value: values[i]})
		}
		return w, nil
	})
}

// forget deletes what was sent.
func forget(ctx context.Context, conn *pgx.Conn, seqs []int64) error {
	_, err := conn.Exec(ctx, "DELETE FROM parley.outbox WHERE seq = ANY ($1)", seqs)
	return err
}

// park puts a message aside that can never be sent.
func park(ctx context.Context, conn *pgx.Conn, seq int64, why error) error {
	_, err := conn.Exec(ctx, `
		WITH gone AS (DELETE FROM parley.outbox WHERE seq = $1 RETURNING *)
		INSERT INTO parley.outbox_parked (seq, topic, partition, key, value, header_names, header_values, message_time, created_at, error)
		SELECT seq, topic, partition, key, value, header_names, header_values, message_time, created_at, $2 FROM gone`, seq, why.Error())
	return err
}
