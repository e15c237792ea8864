package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"processor/db"
	"processor/internal/position"
)

// Result says what became of each position of a batch. The counts and the rejections add up to
// the batch, unless Write returned an error: then the rest is undecided.
type Result struct {
	Inserted  int // new rows
	Merged    int // rows that were there and got further attributes
	Unchanged int // rows that were there with all of it
	Rejected  []Rejection
}

// Rejection is a position that the database does not take, for a reason that lies in itself.
type Rejection struct {
	Index      int // into the batch
	SQLState   string
	Message    string
	Column     string // where the server named one
	Constraint string // where the server named one
}

// Detail says for people what the server found wrong.
func (r *Rejection) Detail() string {
	detail := r.Message
	if r.Column != "" {
		detail += " (column " + r.Column + ")"
	}
	if r.Constraint != "" {
		detail += " (constraint " + r.Constraint + ")"
	}
	return detail
}

// Writer writes batches, one at a time; its buffers serve the next. Not safe for concurrent use.
type Writer struct {
	store *Store
	order []int32
	waves []db.UpsertPositionsParams
}

// NewWriter returns a Writer on the store's connections. It needs no closing.
func (s *Store) NewWriter() *Writer { return &Writer{store: s} }

// Write makes each position of the batch a row: new, merged into the row with its key, or there
// already. It returns when every position is committed or rejected; trouble of the server is
// waited out with backoff. The only error is that of the context: then some positions may be
// committed, and writing the whole batch again is safe.
//
// Rows are sent sorted by key, so that two replicas with the same rows cannot deadlock. Of
// positions with one key in the batch, the first in the batch's order counts as the first.
func (w *Writer) Write(ctx context.Context, batch []position.Position) (Result, error) {
	var r Result
	w.sort(batch)
	err := w.settle(ctx, batch, w.order, &r)
	return r, err
}

// sort orders the batch by key and leaves positions with one key in the order they came in.
func (w *Writer) sort(batch []position.Position) {
	w.order = w.order[:0]
	for i := range batch {
		w.order = append(w.order, int32(i))
	}
	slices.SortFunc(w.order, func(a, b int32) int {
		return cmp.Or(compareKeys(&batch[a], &batch[b]), cmp.Compare(a, b))
	})
}

func compareKeys(a, b *position.Position) int {
	if c := cmp.Compare(a.DeviceID, b.DeviceID); c != 0 {
		return c
	}
	return a.Timestamp.Compare(b.Timestamp)
}

// settle writes the rows until each has its outcome. What an error means decides Classify.
func (w *Writer) settle(ctx context.Context, batch []position.Position, rows []int32, r *Result) error {
	if len(rows) == 0 {
		return nil
	}
	pause := newBackoff()
	for {
		err := w.attempt(ctx, batch, rows, r)
		if err == nil {
			w.store.trouble.over()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		class := Classify(err)
		w.failed(class, err)
		switch {
		case (class == BadRow || class == Limit) && len(rows) > 1:
			half := len(rows) / 2
			if err := w.settle(ctx, batch, rows[:half], r); err != nil {
				return err
			}
			return w.settle(ctx, batch, rows[half:], r)
		case class == BadRow:
			r.Rejected = append(r.Rejected, rejection(int(rows[0]), err))
			return nil
		}
		w.store.trouble.failed(class, err)
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

func (w *Writer) failed(class Class, err error) {
	events := &w.store.opts.Events
	if events.Failed != nil {
		events.Failed(class)
	}
	if events.CommitUnknown != nil && outcomeUnknown(err) {
		events.CommitUnknown()
	}
}

// attempt sends the rows in one transaction and adds the counts to r once it is committed.
func (w *Writer) attempt(ctx context.Context, batch []position.Position, rows []int32, r *Result) error {
	ctx, cancel := context.WithTimeout(ctx, w.store.opts.WriteTimeout)
	defer cancel()
	// A connection of its own for the attempt: errors of the commit are read after the results,
	// when the pool would have given the connection to somebody else.
	conn, err := w.store.pool.Acquire(ctx)
	if err != nil {
		return notSent{fmt.Errorf("connect to PostgreSQL: %w", err)}
	}
	defer conn.Release()

	began := time.Now()
	inserted, merged, err := w.upsert(ctx, db.New(conn.Conn()), batch, rows)
	if err != nil {
		return err
	}
	if wrote := w.store.opts.Events.Wrote; wrote != nil {
		wrote(len(rows), time.Since(began))
	}
	r.Inserted += inserted
	r.Merged += merged
	r.Unchanged += len(rows) - inserted - merged
	return nil
}

// upsert sends one statement for the first occurrence of each key, one for the second, and so
// on, all in one round trip and, since there is one Sync, one implicit transaction.
func (w *Writer) upsert(ctx context.Context, queries *db.Queries, batch []position.Position, rows []int32) (inserted, merged int, err error) {
	waves := w.split(batch, rows)
	results := queries.UpsertPositions(ctx, waves)
	results.QueryRow(func(_ int, row db.UpsertPositionsRow, rowErr error) {
		inserted += int(row.Inserted)
		merged += int(row.Merged)
		err = cmp.Or(err, rowErr)
	})
	// The transaction commits after the last statement's result: only Close knows how that went.
	return inserted, merged, cmp.Or(err, results.Close())
}

// split fills the statements' arrays. Equal keys are neighbours in rows.
func (w *Writer) split(batch []position.Position, rows []int32) []db.UpsertPositionsParams {
	for i := range w.waves {
		resetWave(&w.waves[i])
	}
	used, repeat := 0, 0
	for i, row := range rows {
		p := &batch[row]
		if i > 0 && compareKeys(&batch[rows[i-1]], p) == 0 {
			repeat++
		} else {
			repeat = 0
		}
		if repeat == len(w.waves) {
			w.waves = append(w.waves, db.UpsertPositionsParams{})
		}
		used = max(used, repeat+1)
		appendToWave(&w.waves[repeat], p)
	}
	return w.waves[:used]
}

func resetWave(wave *db.UpsertPositionsParams) {
	wave.DeviceID = wave.DeviceID[:0]
	wave.Ts = wave.Ts[:0]
	wave.Latitude = wave.Latitude[:0]
	wave.Longitude = wave.Longitude[:0]
	wave.Altitude = wave.Altitude[:0]
	wave.Angle = wave.Angle[:0]
	wave.Speed = wave.Speed[:0]
	wave.Satellites = wave.Satellites[:0]
	wave.Priority = wave.Priority[:0]
	wave.Attributes = wave.Attributes[:0]
}

func appendToWave(wave *db.UpsertPositionsParams, p *position.Position) {
	wave.DeviceID = append(wave.DeviceID, p.DeviceID)
	wave.Ts = append(wave.Ts, p.Timestamp)
	wave.Latitude = append(wave.Latitude, p.Latitude)
	wave.Longitude = append(wave.Longitude, p.Longitude)
	wave.Altitude = append(wave.Altitude, p.Altitude)
	wave.Angle = append(wave.Angle, p.Angle)
	wave.Speed = append(wave.Speed, p.Speed)
	wave.Satellites = append(wave.Satellites, int16(p.Satellites))
	wave.Priority = append(wave.Priority, int16(p.Priority))
	wave.Attributes = append(wave.Attributes, p.Attributes)
}

func rejection(index int, err error) Rejection {
	r := Rejection{Index: index, Message: err.Error()}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		r.SQLState, r.Message = pgErr.Code, pgErr.Message
		r.Column, r.Constraint = pgErr.ColumnName, pgErr.ConstraintName
	}
	return r
}

// newBackoff begins at 50 ms, so that a deadlock costs little, and ends at 2 s, so that a
// server that is back is used soon; half of it is jitter, so that replicas do not march in step.
func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 2*time.Second, 2
	return b
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
