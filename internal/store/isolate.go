package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/db"
)

// mostIsolated bounds the rows of one transaction in which bad ones are looked for.
const mostIsolated = 5000

// mostRejected bounds the bad rows of one transaction. Each takes 2 to 10 ms to be found, and some
// 25 ms where every try makes the chunk anew, so a batch of nothing else would not end within the
// write timeout: it is divided into transactions, down to fewRows, which cannot hold more.
const mostRejected = fewRows

// errManyBad: too many bad rows for one transaction. Nothing is written.
var errManyBad = errors.New("too many bad rows for one transaction")

// cautiousBatches is how many batches are tried part by part from the start after one that held a bad
// row: the next one then costs a part, and not all that the server did until it met it.
const cautiousBatches = 16

// search settles rows of which some are bad, or may well be. The first part goes in a transaction of
// its own: where it makes a chunk, every other writer waits for that until the commit, and finding
// the bad rows of all the others takes its time.
func (w *Writer) search(ctx context.Context, rows []int32, r *Result) error {
	w.careful = true
	first := 0
	if len(rows) > fewRows {
		first = min(partSize(len(rows), fewRows), mostIsolated)
	}
	if err := w.settle(ctx, rows[:first], r); err != nil {
		return err
	}
	for part := range slices.Chunk(rows[first:], mostIsolated) {
		if err := w.settle(ctx, part, r); err != nil {
			return err
		}
	}
	return nil
}

// isolate writes the rows in parts, finds the bad ones by dividing, and leaves them out, in one
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
	if err = db.New(conn).SavePart(ctx); err == nil {
		err = w.tryParts(ctx, conn, rows, false, &found)
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		_ = tx.Rollback(ctx) // what went wrong is told by err
		return err
	}
	path := PathUpsert
	if w.byCopy {
		path = PathCopy
	}
	w.wrote(path, len(rows)-len(found.Rejected), began)
	r.Inserted += found.Inserted
	r.Merged += found.Merged
	r.Unchanged += found.Unchanged
	r.Rejected = append(r.Rejected, found.Rejected...)
	return nil
}

// mostTriedInHalves: that takes the fewest statements to find a row. Of more rows too many would be
// sent again and again.
const mostTriedInHalves = 512

// tryParts tries the rows part by part. Where they were refused as a whole, and the server takes
// every part but the last, that one holds what it refused, and is not tried as a whole.
func (w *Writer) tryParts(ctx context.Context, conn *pgx.Conn, rows []int32, refused bool, found *Result) error {
	size, rejected := partSize(len(rows), mostTriedInHalves), len(found.Rejected)
	for len(rows) > size {
		if err := w.try(ctx, conn, rows[:size], found); err != nil {
			return err
		}
		rows = rows[size:]
	}
	if refused && len(rows) > 1 && len(found.Rejected) == rejected {
		return w.tryParts(ctx, conn, rows, true, found)
	}
	return w.try(ctx, conn, rows, found)
}

// try writes the rows that the server takes, and rejects the others. After an error the
// transaction is of no more use.
func (w *Writer) try(ctx context.Context, conn *pgx.Conn, rows []int32, found *Result) error {
	inserted, merged, err := w.tryOnce(ctx, conn, rows)
	if err == nil {
		found.Inserted += inserted
		found.Merged += merged
		found.Unchanged += len(rows) - inserted - merged
		return keepPart(ctx, conn)
	}
	notByCopy := errors.Is(err, errNotByCopy)
	if !notByCopy && Classify(err) != BadRow {
		return err
	}
	if err := db.New(conn).DropPart(ctx); err != nil {
		return err
	}
	switch {
	case notByCopy:
		w.byCopy = false
		return w.try(ctx, conn, rows, found)
	case len(rows) == 1 && len(found.Rejected) == mostRejected:
		return errManyBad
	case len(rows) == 1:
		found.Rejected = append(found.Rejected, rejection(int(rows[0]), BadRow, err))
		return nil
	}
	return w.tryParts(ctx, conn, rows, true, found)
}

// tryOnce sends a single row by upsert: COPY converts no types, so only the upsert reports whether the
// row is at fault.
func (w *Writer) tryOnce(ctx context.Context, conn *pgx.Conn, rows []int32) (inserted, merged int, err error) {
	if w.byCopy && len(rows) > 1 && !w.repeats(rows) {
		return w.copy(ctx, conn, rows)
	}
	return w.upsert(ctx, conn, rows)
}

func keepPart(ctx context.Context, conn *pgx.Conn) error {
	if err := db.New(conn).KeepPart(ctx); err != nil {
		return err
	}
	return db.New(conn).SavePart(ctx)
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
