package store

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"processor/db"
	"processor/internal/column"
	"processor/internal/position"
)

// Ways to write, as label values.
const (
	PathCopy   = "copy"
	PathInsert = "insert"
	PathUpsert = "upsert"
)

// Paths returns all of them.
func Paths() []string { return []string{PathCopy, PathInsert, PathUpsert} }

// maxInserted is up to how many fresh rows go by the plain insert. Its prepared plan saves the time
// that the check before COPY takes, which is more than COPY saves on so few rows.
const maxInserted = 500

// maxInsertedBytes bounds the attributes of rows that go by the plain insert: the driver holds all arrays in
// memory twice, where COPY encodes rows as they are sent.
const maxInsertedBytes = 1 << 20

// errWrongPath: COPY or the plain insert did not store all rows, so nothing is committed or the upsert is
// to look what is there.
var errWrongPath = errors.New("rows cannot be written by COPY or a plain insert")

// sent says what one statement, or several that are one transaction, did with rows.
type sent struct {
	inserted, merged int
	watched          bool      // the counts prove nothing, see MissingPositions
	fresh            [][]int32 // in a search: rows that were certainly not there before
}

func (s *sent) add(other sent) {
	s.inserted += other.inserted
	s.merged += other.merged
	s.watched = s.watched || other.watched
}

// sender sends rows of a batch over one of the paths. Its buffers serve the next batch.
type sender struct {
	columns    []column.Column
	source     *copySource
	statements []db.UpsertPositionsParams
}

func newSender() *sender { return &sender{columns: column.All(), source: newCopySource()} }

// pathFor is how fresh rows go.
func pathFor(positions []position.Position, rows []int32) string {
	switch {
	case repeats(positions, rows):
		return PathUpsert
	case len(rows) <= maxInserted && attributeBytes(positions, rows) <= maxInsertedBytes:
		return PathInsert
	}
	return PathCopy
}

func attributeBytes(positions []position.Position, rows []int32) (n int) {
	for _, row := range rows {
		n += len(positions[row].Attributes)
	}
	return n
}

// send sends the rows over the path. Nothing is written where it returns an error, unless the connection
// broke at the commit.
func (s *sender) send(ctx context.Context, conn *pgx.Conn, path string, batch []position.Position, rows []int32) (sent, error) {
	switch path {
	case PathCopy:
		n, err := s.source.send(ctx, conn, batch, rows)
		if err != nil {
			s.source = newCopySource()
		}
		return all(n, len(rows), err)
	case PathInsert:
		n, err := db.New(conn).InsertPositions(ctx, db.InsertPositionsParams(s.fill(batch, rows)[0]))
		return all(int(n), len(rows), err)
	default:
		return s.upsert(ctx, conn, batch, rows)
	}
}

// all turns a count of inserted rows into a result: fewer than were sent are a case for the upsert.
func all(inserted, rows int, err error) (sent, error) {
	if err == nil && inserted != rows {
		err = errWrongPath
	}
	return sent{inserted: inserted}, err
}

// upsert sends one statement for the first occurrence of each key, one for the second, and so
// on, all in one round trip and, since there is one Sync, one implicit transaction.
func (s *sender) upsert(ctx context.Context, conn *pgx.Conn, batch []position.Position, rows []int32) (sent, error) {
	var total sent
	var err error
	results := db.New(conn).UpsertPositions(ctx, s.fill(batch, rows))
	results.QueryRow(func(_ int, row db.UpsertPositionsRow, rowErr error) {
		total.add(sent{inserted: int(row.Inserted), merged: int(row.Merged), watched: row.Watched})
		err = cmp.Or(err, rowErr)
	})
	// The transaction commits after the last statement's result: only Close knows how that went.
	return total, cmp.Or(err, results.Close())
}

// fill fills the arrays of as many statements as the most frequent key occurs. Equal keys are neighbours
// in rows.
func (s *sender) fill(batch []position.Position, rows []int32) []db.UpsertPositionsParams {
	for i := range s.statements {
		for c := range s.columns {
			s.columns[c].Reset((*column.Arrays)(&s.statements[i]))
		}
	}
	used, repeat := 0, 0
	for i, row := range rows {
		p := &batch[row]
		if i > 0 && compareKeys(&batch[rows[i-1]], p) == 0 {
			repeat++
		} else {
			repeat = 0
		}
		if repeat == len(s.statements) {
			s.statements = append(s.statements, db.UpsertPositionsParams{})
		}
		used = max(used, repeat+1)
		for c := range s.columns {
			s.columns[c].Collect((*column.Arrays)(&s.statements[repeat]), p)
		}
	}
	return s.statements[:used]
}

// missing returns which of the rows are not in positions, after their commit. It asks day by day.
func missing(ctx context.Context, conn *pgx.Conn, batch []position.Position, rows []int32) ([]int32, error) {
	var absent []int32
	queries := db.New(unnamed{conn})
	for _, day := range byDay(batch, rows) {
		ask := db.MissingPositionsParams{FirstTs: startOf(day.day), PastTs: startOf(day.day + 1)}
		for _, row := range day.rows {
			ask.DeviceID = append(ask.DeviceID, batch[row].DeviceID)
			ask.Ts = append(ask.Ts, batch[row].Timestamp)
		}
		found, err := queries.MissingPositions(ctx, ask)
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			absent = append(absent, day.rows[n])
		}
	}
	return absent, nil
}

// unnamed sends queries without a name, so that the server plans each with its arguments.
type unnamed struct{ *pgx.Conn }

// Query implements db.DBTX.
func (u unnamed) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return u.Conn.Query(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}
