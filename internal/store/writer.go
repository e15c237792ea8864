package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/db"
	"processor/internal/position"
)

// Batch is what one Write takes.
type Batch struct {
	Positions []position.Position
	// Redelivered: some of these positions may be rows already, so the upsert is used at once.
	Redelivered bool
	// Single: one position, of an entry that was delivered many times. Where it meets an error
	// without a rule (class Unexpected) while others are written, it is rejected and not parked.
	Single bool
	// Parked: each of these positions was parked by an earlier Write.
	Parked bool
	// Attempted, where set, is called once, when the first attempt has ended, however it ended.
	Attempted func()
}

// Result says what became of each position of a batch. The counts, the rejections and the parked
// positions add up to the batch, unless Write returned an error: then the rest is undecided.
type Result struct {
	Inserted  int // new rows
	Merged    int // rows that were there and got further attributes
	Unchanged int // rows that were there with all of it
	Rejected  []Rejection
	Parked    []Parked
}

// Rejection is a position that the database does not take.
type Rejection struct {
	Index      int   // into Batch.Positions
	Class      Class // BadRow: the reason lies in the row; Unexpected only with Batch.Single
	SQLState   string
	Message    string
	Column     string // where the server named one
	Constraint string // where the server named one
}

// Parked is a position that is not stored yet while others are: the caller writes it again later,
// with Batch.Parked.
type Parked struct {
	Index int // into Batch.Positions
	// Err is why: of class Limit or Unexpected, or ErrManyChunks, which is no fault.
	Err error
}

// ErrManyChunks says that a position lies in one of many days of its batch, each of which may need a
// new chunk. It is stored later, so that the others need not wait for the chunks.
var ErrManyChunks = errors.New("the batch touches many chunks")

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
	batch Batch
	keys  []sortKey
	order []int32
	// byCopy: rows of this batch that are not known to be there may go by COPY.
	byCopy bool
	// careful: bad rows are about, so rows are tried part by part. See search.
	careful bool
	// suspect: the batch is divided at once for an error without a rule.
	suspect bool
	// lone counts the rows that failed alone since the last that was written.
	lone       int
	began      time.Time
	statements []db.UpsertPositionsParams
	source     *copySource
}

// NewWriter returns a Writer on the store's connections. It needs no closing.
func (s *Store) NewWriter() *Writer { return &Writer{store: s, source: &copySource{}} }

// Write makes each position of the batch a row: new, merged into the row with its key, or there
// already. It returns when every position is committed, rejected or known to wait; trouble of the
// server is waited out with backoff. The only error is that of the context: then some positions
// may be committed, and writing the whole batch again is safe.
//
// Rows are sent sorted by key, so that two replicas with the same rows cannot deadlock. Of
// positions with one key in the batch, the first in the batch's order counts as the first.
func (w *Writer) Write(ctx context.Context, batch Batch) (Result, error) {
	w.batch, w.lone, w.began = batch, 0, time.Now()
	w.sort()
	w.byCopy = !batch.Redelivered && w.store.copies.allowed()
	w.suspect = batch.Parked
	w.careful = false
	write := w.settle
	if len(w.order) > fewRows && w.store.badRows.take() {
		write = w.search
	}
	if len(w.order) > fewRows && w.store.caution.take() {
		w.suspect = true
		write = w.divide
	}
	var r Result
	err := write(ctx, w.order, &r)
	if err == nil {
		w.store.trouble.over(w)
	}
	if slices.ContainsFunc(r.Rejected, func(r Rejection) bool { return r.Class == BadRow }) {
		w.failed(BadRow, nil) // one error, however many rows and tries
		w.store.badRows.start(cautiousBatches)
	}
	w.batch = Batch{} // the positions are the caller's again
	return r, err
}

// settle writes the rows until each has its outcome. Classify decides what an error means.
func (w *Writer) settle(ctx context.Context, rows []int32, r *Result) error {
	if len(rows) == 0 {
		return nil
	}
	pause := NewBackOff()
	for failures, timeouts := 0, 0; ; {
		err := w.attempt(ctx, rows, r)
		if w.batch.Attempted != nil {
			w.batch.Attempted()
			w.batch.Attempted = nil
		}
		switch {
		case err == nil:
			w.lone = 0
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errNotByCopy):
			w.byCopy = false
			continue
		case errors.Is(err, errManyBad):
			return w.divide(ctx, rows, r)
		}
		class := Classify(err)
		if class != BadRow { // counted by Write
			w.failed(class, err)
		}
		failures++
		if errors.Is(err, errTimeout) {
			timeouts++
		}
		switch {
		case class == BadRow && len(rows) > 1 && !w.careful:
			return w.search(ctx, rows, r)
		case w.dividesFor(class, failures, timeouts) && len(rows) > 1:
			if class == Unexpected {
				w.store.caution.start(cautiousBatches)
			}
			// The server has refused all of them, so none is there: what was fresh still is.
			w.byCopy = w.byCopy && class == BadRow
			return w.divide(ctx, rows, r)
		case class == BadRow && w.copies(rows):
			// COPY converts no types: where somebody changed a column's, the upsert may well do.
			w.byCopy = false
			continue
		case class == BadRow:
			r.Rejected = append(r.Rejected, rejection(int(rows[0]), class, err))
			return nil
		case w.leaves(class, failures):
			w.leave(rows[0], class, err, r)
			return nil
		}
		w.store.trouble.failed(w, class, err)
		w.byCopy = false
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

// dividesFor reports whether an error may concern some of the rows alone.
func (w *Writer) dividesFor(class Class, failures, timeouts int) bool {
	switch class {
	case BadRow, Limit:
		return true
	case Unexpected:
		// Once more as a whole: it may pass. A trigger's RAISE EXCEPTION does not.
		w.suspect = w.suspect || failures > 1
		return w.suspect
	default:
		// A batch that takes longer than WriteTimeout each time would never be written.
		return timeouts > 1
	}
}

// loneRows is how many rows in a row may fail alone before the server is suspected.
const loneRows = 3

// leaves reports whether a row that failed alone is left for later. Where one after the other fails
// and nobody writes any, the server is at fault: then the batch is held, as in any other trouble.
func (w *Writer) leaves(class Class, failures int) bool {
	if class != Limit && class != Unexpected {
		return false
	}
	if class == Unexpected && !w.suspect && failures == 1 {
		return false
	}
	return w.batch.Parked || w.lone < loneRows || w.othersWritten(w.began)
}

func (w *Writer) leave(row int32, class Class, err error, r *Result) {
	w.lone++
	if class == Unexpected && w.batch.Single && w.othersWritten(time.Now().Add(-recently)) {
		r.Rejected = append(r.Rejected, rejection(int(row), class, err))
		return
	}
	r.Parked = append(r.Parked, Parked{Index: int(row), Err: explain(err)})
}

// othersWritten reports whether anything was committed since then, by whichever Writer: a lone
// failure is the row's own.
func (w *Writer) othersWritten(since time.Time) bool {
	return w.store.wrote.Load() > since.UnixNano()
}

// recently is how long ago a commit still proves that the server works.
const recently = time.Second

func (w *Writer) failed(class Class, err error) {
	events := &w.store.opts.Events
	if events.Failed != nil {
		events.Failed(class)
	}
	if events.CommitUnknown != nil && outcomeUnknown(err) {
		events.CommitUnknown()
	}
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
