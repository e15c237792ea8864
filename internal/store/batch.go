package store

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/db"
	"processor/internal/column"
	"processor/internal/position"
)

// Batch is what one Write takes.
type Batch struct {
	Positions []position.Position
	// Redelivered: some of these positions may be rows already, so the upsert is used at once.
	Redelivered bool
	// Single: one position, of an entry that was delivered many times. Where it meets an error
	// without a rule (class Unexpected) while others are stored, it is rejected and not parked.
	Single bool
	// Parked: each of these positions was parked by an earlier Write. They are tried in small parts for
	// about 2 s; what is not stored by then is parked again, and another part comes first next time.
	Parked bool
	// Fresh, where set, has an element for each position: Write sets those of rows that were certainly not
	// there before, which only COPY and the plain insert can tell.
	Fresh []bool
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
	Message    string // of the database; it may hold values of the row
	Column     string // where the server named one
	Constraint string // where the server named one
}

// Parked is a position that is not stored yet while others are: the caller writes it again later,
// with Batch.Parked.
type Parked struct {
	Index int // into Batch.Positions
	// Err is why, or ErrManyChunks, which is no fault. The database's message in it may hold values of the row.
	Err error
}

// ErrManyChunks says that a position lies in one of many days of its batch, each of which may need a
// new chunk. It is stored later, so that the others need not wait for the chunks.
var ErrManyChunks = errors.New("the batch touches many chunks")

// Detail says for people what the server found wrong. It may hold values of the row.
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

func rejection(index int, class Class, err error) Rejection {
	r := Rejection{Index: index, Class: class, Message: err.Error()}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		r.SQLState, r.Message = pgErr.Code, pgErr.Message
		r.Column, r.Constraint = pgErr.ColumnName, pgErr.ConstraintName
	}
	return r
}

// UpsertParams returns the arguments of an upsert of one position.
func UpsertParams(p *position.Position) db.UpsertPositionsParams {
	var a column.Arrays
	for _, c := range column.All() {
		c.Collect(&a, p)
	}
	return db.UpsertPositionsParams(a)
}
