package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// mostIsolated bounds the rows of one transaction in which bad ones are looked for. Larger batches
// are divided first: their good parts go by COPY.
const mostIsolated = 512

// cautiousBatches is how many batches are divided from the start after one that held a bad row: the
// next one then costs a part, and not all that the server did until it met it.
const cautiousBatches = 16

// isolate writes the rows in parts, finds the bad ones by halving, and leaves them out, in one
// transaction: each try has a savepoint. In transactions of their own the parts would cost a dozen
// commits a bad row more, each of which waits for the disk.
//
// The error is that of the whole, and nothing is written then, or, where the connection broke at
// the commit, perhaps all.
func (w *Writer) isolate(ctx context.Context, conn *pgx.Conn, rows []int32, r *Result) error {
	began := time.Now()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin to look for bad rows: %w", err)
	}
	var found Result
	for part := range slices.Chunk(rows, partSize(len(rows))) {
		if err = w.try(ctx, tx, part, &found); err != nil {
			break
		}
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		_ = tx.Rollback(ctx) // what went wrong is told by err
		return err
	}
	w.wrote(PathUpsert, len(rows)-len(found.Rejected), began)
	r.Inserted += found.Inserted
	r.Merged += found.Merged
	r.Unchanged += found.Unchanged
	r.Rejected = append(r.Rejected, found.Rejected...)
	return nil
}

// try writes the rows that the server takes, and rejects the others. After an error the
// transaction is of no more use.
func (w *Writer) try(ctx context.Context, tx pgx.Tx, rows []int32, found *Result) error {
	savepoint, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	inserted, merged, err := w.upsert(ctx, savepoint, rows)
	if err == nil {
		found.Inserted += inserted
		found.Merged += merged
		found.Unchanged += len(rows) - inserted - merged
		return savepoint.Commit(ctx)
	}
	if Classify(err) != BadRow {
		return err
	}
	if err := savepoint.Rollback(ctx); err != nil {
		return err
	}
	if len(rows) == 1 {
		found.Rejected = append(found.Rejected, rejection(int(rows[0]), BadRow, err))
		return nil
	}
	half := len(rows) / 2
	if err := w.try(ctx, tx, rows[:half], found); err != nil {
		return err
	}
	return w.try(ctx, tx, rows[half:], found)
}

// wrote notes that rows were committed; none, where all were bad, proves nothing of the server.
func (w *Writer) wrote(path string, rows int, began time.Time) {
	if rows == 0 {
		return
	}
	w.store.wrote.Store(time.Now().UnixNano())
	if wrote := w.store.opts.Events.Wrote; wrote != nil {
		wrote(path, rows, time.Since(began))
	}
}
