package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/db"
	"processor/internal/position"
)

// A segment that the server refuses is split into eighths, so that few rows are sent twice, and a small
// one into halves, so that few statements are sent.
const (
	manyParts = 8
	fewRows   = 64
	// maxHalved is up to how many rows halves take the fewest statements within one transaction.
	maxHalved = 512
)

const (
	// maxSearched bounds the rows of one transaction in which rejected ones are looked for.
	maxSearched = 5000
	// maxRejected bounds the rejected rows of one transaction. Each takes 2 to 10 ms to be found, and some
	// 25 ms where every try makes the chunk anew.
	maxRejected = fewRows
)

// partSize is how many rows a part of so many has. Up to halved rows are cut into halves.
func partSize(rows, halved int) int {
	parts := 2
	if rows > halved {
		parts = manyParts
	}
	return (rows + parts - 1) / parts
}

// parts cuts a segment: where its rows lie in several days, by day, the one closest to today first, since a
// chunk may be the cause (frozen, or compressed under a decompression limit). Rows of which some are rejected are all fresh still; after another refusal they go
// by upsert.
func parts(s segment, fresh bool, positions []position.Position) []segment {
	var pieces [][]int32
	if days := byCloseness(byDay(positions, s.rows), dayOfTime(time.Now())); len(days) > 1 {
		for _, day := range days {
			pieces = append(pieces, day.rows)
		}
	} else {
		pieces = slices.Collect(slices.Chunk(s.rows, partSize(len(s.rows), fewRows)))
	}
	var cut []segment
	for _, rows := range pieces {
		p := segment{rows: rows, path: PathUpsert, search: s.search, failures: s.failures, slow: s.slow}
		if fresh {
			p.path = pathFor(positions, rows)
		}
		cut = append(cut, p)
	}
	return cut
}

// searches cuts a segment in which rejected rows are to be found in one transaction. The first part goes by
// itself: where it makes a chunk, every other writer waits for that until the commit.
func searches(s segment) []segment {
	first := 0
	if len(s.rows) > fewRows {
		first = min(partSize(len(s.rows), fewRows), maxSearched)
	}
	s.search = true
	var cut []segment
	if first > 0 {
		part := s
		part.rows = s.rows[:first]
		cut = append(cut, part)
	}
	for rows := range slices.Chunk(s.rows[first:], maxSearched) {
		part := s
		part.rows = rows
		cut = append(cut, part)
	}
	return cut
}

// refusal is rows that the server refused, and why.
type refusal struct {
	rows []int32
	why  answer
	err  error
	// noted: the memory has counted the rows as rejected.
	noted bool
	// suspected: the schema was suspected then, see memory.
	suspected bool
	// early: nothing of the batch was stored then.
	early bool
}

// trial is rows tried in a search.
type trial struct {
	rows []int32
	// refused: together with the rows of the trials before it, which the server then took if no more than
	// known rows are rejected. So these hold what it refused, and are not tried as a whole.
	refused bool
	known   int
}

// find writes the rows in parts in one transaction and leaves out those that the server rejects: each try has a
// savepoint, and there is one at any time. In transactions of their own the parts would cost a dozen commits
// a rejected row more. Where it returns an error, nothing is written, or the commit's outcome is unknown.
func (s *sender) find(ctx context.Context, conn *pgx.Conn, path string, batch []position.Position, rows []int32) (total sent, found []refusal, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return sent{}, nil, fmt.Errorf("begin to look for rejected rows: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback(ctx) // what went wrong is in err
		}
	}()
	queries := db.New(conn)
	if err := queries.SavePart(ctx); err != nil {
		return sent{}, nil, err
	}
	for stack := []trial{{rows: rows}}; len(stack) > 0; {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if t.refused && len(t.rows) > 1 && len(found) == t.known {
			stack = append(stack, halves(t.rows, len(found))...)
			continue
		}
		try := tryPath(path, batch, t.rows)
		did, err := s.send(ctx, conn, try, batch, t.rows)
		if err == nil {
			total.add(did)
			if try != PathUpsert {
				total.fresh = append(total.fresh, t.rows)
			}
			if err := errors.Join(queries.KeepPart(ctx), queries.SavePart(ctx)); err != nil {
				return sent{}, nil, err
			}
			continue
		}
		a := answerTo(err, try)
		if a != wrongPath && a != badRow {
			return sent{}, nil, err
		}
		if err := queries.DropPart(ctx); err != nil {
			return sent{}, nil, err
		}
		switch {
		case a == wrongPath:
			path = PathUpsert
			stack = append(stack, trial{rows: t.rows})
		case len(t.rows) > 1:
			stack = append(stack, halves(t.rows, len(found))...)
		case len(found) == maxRejected:
			return sent{}, nil, errCrowded
		default:
			found = append(found, refusal{rows: t.rows, why: badRow, err: err, early: total.inserted+total.merged == 0})
		}
	}
	return total, found, tx.Commit(ctx)
}

// tryPath sends a single row by upsert: COPY converts no types, so only the upsert shows whether the
// row is at fault.
func tryPath(path string, batch []position.Position, rows []int32) string {
	if len(rows) == 1 || path == PathUpsert {
		return PathUpsert
	}
	return pathFor(batch, rows)
}

// halves cuts rows that were refused as a whole, the first part on top of the stack.
func halves(rows []int32, found int) []trial {
	var cut []trial
	for part := range slices.Chunk(rows, partSize(len(rows), maxHalved)) {
		cut = append(cut, trial{rows: part})
	}
	last := &cut[len(cut)-1]
	last.refused, last.known = true, found
	slices.Reverse(cut)
	return cut
}
