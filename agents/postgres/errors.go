package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// idled is the code of a transaction that the server has ended as nothing
// happened in it.
const idled = "25P03"

// ours is an error of one of our own statements: the database is down, or not
// prepared. Neither is the message's fault.
func ours(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "42P01", "3F000", "42703":
			err = fmt.Errorf("the tables are missing or of another version; call postgres.Migrate: %w", err)
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &streaming.UnavailableError{Err: fmt.Errorf("database: %w", err)}
}

// theirs is an error of the handler's transaction. It is the handler's, to be
// judged by the agent's policy, unless the connection or the server has gone.
func theirs(tx pgx.Tx, err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case idled:
			return fmt.Errorf("the handler left its transaction idle for longer than Config.IdleTimeout: %w", err)
		case "57P01", "57P02", "57P03":
			return &streaming.UnavailableError{Err: fmt.Errorf("database: %w", err)}
		}
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if tx.Conn().IsClosed() {
		return &streaming.UnavailableError{Err: fmt.Errorf("database: %w", err)}
	}
	return err
}
