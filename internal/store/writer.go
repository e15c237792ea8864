package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"processor/db"
	"processor/internal/position"
)

// Batch is what one Write takes.
type Batch struct {
	Positions []position.Position
	// Redelivered: some of these positions may be rows already, so the upsert is used at once.
	Redelivered bool
	// LastChance: a position that alone meets a limit of the server, or an error without a
	// rule, is rejected too instead of held. For an entry that was delivered many times.
	LastChance bool
}

// Result says what became of each position of a batch. The counts and the rejections add up to
// the batch, unless Write returned an error: then the rest is undecided.
type Result struct {
	Inserted  int // new rows
	Merged    int // rows that were there and got further attributes
	Unchanged int // rows that were there with all of it
	Rejected  []Rejection
}

// Rejection is a position that the database does not take.
type Rejection struct {
	Index      int   // into Batch.Positions
	Class      Class // BadRow: the reason lies in the row; another only with LastChance
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
	store  *Store
	batch  Batch
	keys   []sortKey
	order  []int32
	aside  []int32 // rows that met a limit of the server alone
	waves  []db.UpsertPositionsParams
	source copySource
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
func (w *Writer) Write(ctx context.Context, batch Batch) (Result, error) {
	w.batch = batch
	w.sort()
	var r Result
	w.aside = nil
	write := w.settle
	if len(w.order) > fewRows && w.store.doubt.divides() {
		write = w.divide
	}
	err := write(ctx, w.order, !batch.Redelivered, &r)
	if err == nil {
		err = w.settleAside(ctx, &r)
	}
	if err == nil {
		w.store.trouble.over(w)
	}
	w.batch = Batch{} // the positions are the caller's again
	return r, err
}

// sort orders the batch by key and leaves positions with one key in the order they came in.
func (w *Writer) sort() {
	positions := w.batch.Positions
	w.keys = w.keys[:0]
	for i := range positions {
		w.keys = append(w.keys, keyOf(&positions[i], int32(i)))
	}
	slices.SortFunc(w.keys, func(a, b sortKey) int {
		switch {
		case a.head != b.head:
			return cmp.Compare(a.head, b.head)
		case a.tail != b.tail:
			return cmp.Compare(a.tail, b.tail)
		case a.long || b.long:
			if c := cmp.Compare(positions[a.row].DeviceID, positions[b.row].DeviceID); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.row, b.row))
	})
	w.order = w.order[:0]
	for i := range w.keys {
		w.order = append(w.order, w.keys[i].row)
	}
}

// sortKey is a position's key in numbers: comparing those takes half the time of comparing
// strings that lie all over the memory.
type sortKey struct {
	head, tail uint64 // the identifier's first 16 bytes; shorter ones end in zeros, which none holds
	ts         int64  // microseconds
	row        int32
	long       bool // the identifier goes on
}

func keyOf(p *position.Position, row int32) sortKey {
	var first [16]byte
	long := copy(first[:], p.DeviceID) < len(p.DeviceID)
	return sortKey{
		head: binary.BigEndian.Uint64(first[:8]),
		tail: binary.BigEndian.Uint64(first[8:]),
		ts:   p.Timestamp.UnixMicro(),
		row:  row,
		long: long,
	}
}

func compareKeys(a, b *position.Position) int {
	if c := cmp.Compare(a.DeviceID, b.DeviceID); c != 0 {
		return c
	}
	return a.Timestamp.Compare(b.Timestamp)
}

// settle writes the rows until each has its outcome, or has been put aside. What an error means
// decides Classify. fresh rows may go by COPY; whatever may be there goes by upsert.
func (w *Writer) settle(ctx context.Context, rows []int32, fresh bool, r *Result) error {
	if len(rows) == 0 {
		return nil
	}
	pause := newBackoff()
	refused := false // by COPY
	for {
		err := w.attempt(ctx, rows, fresh, r)
		if err == nil {
			if refused {
				w.store.fresh.violated()
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errNotByCopy) {
			fresh = false
			continue
		}
		class := Classify(err)
		w.failed(class, err)
		if class == BadRow {
			w.store.doubt.refused()
		}
		if class == BadRow && fresh && len(rows) == 1 {
			// COPY converts no types: where somebody changed a column's, the upsert may well do.
			fresh, refused = false, true
			continue
		}
		divisible := class == BadRow || class == Limit || class == Unexpected && w.batch.LastChance
		switch {
		case divisible && len(rows) > 1:
			// The server has refused all of them, so none is there: what was fresh still is.
			return w.divide(ctx, rows, fresh && class == BadRow, r)
		case class == BadRow, divisible && w.batch.LastChance:
			r.Rejected = append(r.Rejected, rejection(int(rows[0]), class, err))
			return nil
		}
		w.store.trouble.failed(w, class, err)
		if class == Limit { // this row alone: the others need not wait for it
			w.aside = append(w.aside, rows[0])
			return nil
		}
		fresh = false
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

// A batch that holds a bad row is cut into eighths, so that little is sent in vain, and near the
// row into halves, so that there are few commits.
const (
	manyParts = 8
	fewRows   = 64
)

func (w *Writer) divide(ctx context.Context, rows []int32, fresh bool, r *Result) error {
	parts := 2
	if len(rows) > fewRows {
		parts = manyParts
	}
	for part := range slices.Chunk(rows, (len(rows)+parts-1)/parts) {
		// Few rows take fewer round trips by upsert.
		if err := w.settle(ctx, part, fresh && len(part) > fewRows, r); err != nil {
			return err
		}
	}
	return nil
}

// settleAside writes the rows that met a limit of the server alone, again and again.
func (w *Writer) settleAside(ctx context.Context, r *Result) error {
	pause := newBackoff()
	for len(w.aside) > 0 {
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
		rows := w.aside
		w.aside = nil
		for i := range rows {
			if err := w.settle(ctx, rows[i:i+1], false, r); err != nil {
				return err
			}
		}
	}
	return nil
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
func (w *Writer) attempt(ctx context.Context, rows []int32, fresh bool, r *Result) error {
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
	path, write := PathUpsert, w.upsert
	if fresh && !w.repeats(rows) && w.store.fresh.useCopy() {
		path, write = PathCopy, w.copy
	}
	inserted, merged, err := write(ctx, conn.Conn(), rows)
	if err != nil {
		return err
	}
	if wrote := w.store.opts.Events.Wrote; wrote != nil {
		wrote(path, len(rows), time.Since(began))
	}
	r.Inserted += inserted
	r.Merged += merged
	r.Unchanged += len(rows) - inserted - merged
	return nil
}

// copy sends the rows by COPY. Where that cannot be, none of them is written: errNotByCopy.
func (w *Writer) copy(ctx context.Context, conn *pgx.Conn, rows []int32) (inserted, merged int, err error) {
	w.source.reset(w.batch.Positions, rows)
	n, err := db.New(copyConn{conn, &w.source}).CopyPositions(ctx, nil)
	switch state := sqlState(err); {
	case state == uniqueViolation, state == wrongBinary, state == wrongMessage, err == nil && n == 0:
		w.store.fresh.violated()
		return 0, 0, errNotByCopy
	case err != nil:
		return 0, 0, err
	}
	w.store.fresh.copied()
	return int(n), 0, nil
}

// upsert sends one statement for the first occurrence of each key, one for the second, and so
// on, all in one round trip and, since there is one Sync, one implicit transaction.
func (w *Writer) upsert(ctx context.Context, conn *pgx.Conn, rows []int32) (inserted, merged int, err error) {
	results := db.New(conn).UpsertPositions(ctx, w.split(rows))
	results.QueryRow(func(_ int, row db.UpsertPositionsRow, rowErr error) {
		inserted += int(row.Inserted)
		merged += int(row.Merged)
		err = cmp.Or(err, rowErr)
	})
	// The transaction commits after the last statement's result: only Close knows how that went.
	return inserted, merged, cmp.Or(err, results.Close())
}

// repeats tells whether a key stands twice in rows, where equal keys are neighbours.
func (w *Writer) repeats(rows []int32) bool {
	for i := 1; i < len(rows); i++ {
		if compareKeys(&w.batch.Positions[rows[i-1]], &w.batch.Positions[rows[i]]) == 0 {
			return true
		}
	}
	return false
}

// split fills the statements' arrays. Equal keys are neighbours in rows.
func (w *Writer) split(rows []int32) []db.UpsertPositionsParams {
	for i := range w.waves {
		resetWave(&w.waves[i])
	}
	used, repeat := 0, 0
	for i, row := range rows {
		p := &w.batch.Positions[row]
		if i > 0 && compareKeys(&w.batch.Positions[rows[i-1]], p) == 0 {
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

func rejection(index int, class Class, err error) Rejection {
	r := Rejection{Index: index, Class: class, Message: err.Error()}
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
