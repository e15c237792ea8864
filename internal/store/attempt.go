package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/db"
)

// errTimeout: the rows were sent, and not written within WriteTimeout.
var errTimeout = errors.New("not written within the write timeout")

// attempt sends the rows in one transaction and adds the counts to r once it is committed.
func (w *Writer) attempt(ctx context.Context, rows []int32, r *Result) error {
	if err := w.store.paused(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.store.opts.WriteTimeout, errTimeout)
	defer cancel()
	// A connection of its own for the attempt: errors of the commit are read after the results,
	// when the pool would have given the connection to somebody else.
	conn, err := w.store.pool.Acquire(ctx)
	if err != nil {
		return notSent{fmt.Errorf("connect to PostgreSQL: %w", err)}
	}
	defer conn.Release()

	send := w.send
	if w.careful && len(rows) > 1 {
		send = w.isolate
	}
	return w.told(ctx, conn, send(ctx, conn.Conn(), rows, r))
}

// send sends all rows by one statement, or several that are one transaction.
func (w *Writer) send(ctx context.Context, conn *pgx.Conn, rows []int32, r *Result) error {
	began := time.Now()
	path, write := PathUpsert, w.upsert
	if w.copies(rows) {
		path, write = PathCopy, w.copy
	}
	inserted, merged, err := write(ctx, conn, rows)
	if err != nil {
		return err
	}
	w.wrote(path, len(rows), began)
	r.Inserted += inserted
	r.Merged += merged
	r.Unchanged += len(rows) - inserted - merged
	return nil
}

// told looks at an error of a connection before that goes back to the pool.
func (w *Writer) told(ctx context.Context, conn *pgxpool.Conn, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	leaveStandby(ctx, conn, err)
	return err
}

// copies reports whether the rows go by COPY.
func (w *Writer) copies(rows []int32) bool {
	// A small part of a divided batch may well be refused: a COPY costs a round trip more then.
	small := len(rows) < len(w.order) && len(rows) <= fewRows
	return w.byCopy && !small && !w.repeats(rows)
}

// leaveStandby closes a connection to a server that has become a standby (25006). It would stay
// usable, and every attempt would fail on it, long after the address has gone to the new primary.
func leaveStandby(ctx context.Context, conn *pgxpool.Conn, err error) {
	if SQLState(err) == readOnlyTransaction {
		_ = conn.Conn().Close(ctx) // what went wrong is told by err
	}
}

// copy sends the rows by COPY. It returns errNotByCopy where not all of them are rows then, and
// the upsert may do better.
func (w *Writer) copy(ctx context.Context, conn *pgx.Conn, rows []int32) (inserted, merged int, err error) {
	w.source.reset(w.batch.Positions, rows)
	n, err := db.New(copyConn{conn, w.source}).CopyPositions(ctx, nil)
	if err != nil {
		// pgconn may return while its sender is about to read: that one stays closed for ever.
		w.source = &copySource{}
	}
	switch state := SQLState(err); {
	case state == uniqueViolation, state == invalidBinary, state == protocolViolation,
		err == nil && int(n) != len(rows): // the WHERE of sql/copy.sql, or somebody's trigger
		w.store.copies.refused()
		return 0, 0, errNotByCopy
	case err != nil:
		return 0, 0, err
	}
	w.store.copies.passed()
	return int(n), 0, nil
}

// repeats reports whether a key stands twice in rows, where equal keys are neighbours.
func (w *Writer) repeats(rows []int32) bool {
	for i := 1; i < len(rows); i++ {
		if compareKeys(&w.batch.Positions[rows[i-1]], &w.batch.Positions[rows[i]]) == 0 {
			return true
		}
	}
	return false
}
